//! The name beside a name that is taken: readers must still see by its end what the object is.

use containerssh_auditlog::manifest;

use super::target::CAST_SUFFIX;

/// `a-MARK` beside `a`, `a-MARK.manifest.json` beside `a.manifest.json`, `a-0-MARK.cast` beside `a-0.cast`.
pub(super) fn beside(name: &str, mark: &str) -> String {
    let suffix =
        [manifest::SUFFIX, CAST_SUFFIX].into_iter().find(|suffix| name.ends_with(suffix)).unwrap_or("");
    let stem = name.strip_suffix(suffix).unwrap_or(name);
    format!("{stem}-{mark}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_object_is_shows_at_the_end_of_its_name() {
        for (name, expected) in [
            ("p/a", "p/a-x"),
            ("p/a.manifest.json", "p/a-x.manifest.json"),
            ("p/a-0.cast", "p/a-0-x.cast"),
            ("a.b", "a.b-x"),
        ] {
            assert_eq!(beside(name, "x"), expected);
        }
    }
}
