//! What the system says, in words for a user.

use std::io;

/// "Connection refused" rather than "Connection refused (os error 111)".
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text.get(..end).unwrap_or_default().to_owned(),
        None => text,
    }
}

/// What the resolver says of a name, without the standard library's preface.
pub(crate) fn lookup_reason(error: &io::Error) -> String {
    let text = reason(error);
    text.strip_prefix("failed to lookup address information: ").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_left_out() {
        assert_eq!(reason(&io::Error::from_raw_os_error(111)), "Connection refused");
        assert_eq!(reason(&io::Error::other("as it is")), "as it is");
        let lookup = io::Error::other("failed to lookup address information: Name or service not known");
        assert_eq!(lookup_reason(&lookup), "Name or service not known");
    }
}
