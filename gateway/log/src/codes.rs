//! Message codes: declared once per crate, listed in one document.

/// One code and what it means to whoever reads the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The code as it stands in the log, such as `SSH_CONNECTED`.
    pub name: &'static str,
    /// One or more whole sentences.
    pub explanation: &'static str,
}

/// All codes that one module declares.
pub type Table = &'static [Entry];

/// Declares codes: a constant each, plus `TABLE` with their explanations.
///
/// ```
/// containerssh_log::codes! {
///     /// Codes of the SSH server.
///     pub mod code {
///         SSH_CONNECTED = "A client connected over TCP.";
///         SSH_DISCONNECTED = "A client's TCP connection ended.";
///     }
/// }
/// assert_eq!(code::SSH_CONNECTED, "SSH_CONNECTED");
/// assert_eq!(code::TABLE[1].explanation, "A client's TCP connection ended.");
/// ```
#[macro_export]
macro_rules! codes {
    ($(#[$meta:meta])* $vis:vis mod $module:ident { $($name:ident = $explanation:literal);+ $(;)? }) => {
        $(#[$meta])*
        $vis mod $module {
            $(#[doc = $explanation] pub const $name: &str = stringify!($name);)+

            /// Every code of this module with its explanation, in order of declaration.
            pub const TABLE: $crate::Table = &[
                $($crate::Entry { name: stringify!($name), explanation: $explanation },)+
            ];
        }
    };
    // The same with commas, which read better in short tables.
    ($(#[$meta:meta])* $vis:vis mod $module:ident { $($name:ident = $explanation:literal),+ $(,)? }) => {
        $crate::codes! { $(#[$meta])* $vis mod $module { $($name = $explanation;)+ } }
    };
}

/// Renders tables as the Markdown document that lists every code: sections by title in the order given, codes
/// sorted by name within each, so that the document changes only where a code does.
///
/// ```
/// use containerssh_log::{Entry, codes::markdown};
/// let text = markdown("Message codes", &[("SSH", &[Entry { name: "SSH_EXIT", explanation: "It ended." }])]);
/// assert_eq!(text, "# Message codes\n\n## SSH\n\n| Code | Meaning |\n|---|---|\n| `SSH_EXIT` | It ended. |\n");
/// ```
#[must_use]
pub fn markdown(title: &str, sections: &[(&str, Table)]) -> String {
    let mut text = format!("# {title}\n");
    for (name, table) in sections {
        text.push_str(&format!("\n## {name}\n\n| Code | Meaning |\n|---|---|\n"));
        let mut entries: Vec<&Entry> = table.iter().collect();
        entries.sort_by_key(|entry| entry.name);
        for entry in entries {
            // A bar would end the table's cell.
            text.push_str(&format!("| `{}` | {} |\n", entry.name, entry.explanation.replace('|', "\\|")));
        }
    }
    text
}

/// Names that are declared in more than one table: a code has one meaning only, which a test checks with this.
#[must_use]
pub fn duplicates(tables: &[Table]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> =
        tables.iter().flat_map(|table| table.iter().map(|entry| entry.name)).collect();
    names.sort_unstable();
    let mut duplicates: Vec<&'static str> = names
        .windows(2)
        .filter_map(|pair| if pair.first() == pair.get(1) { pair.first().copied() } else { None })
        .collect();
    duplicates.dedup();
    duplicates
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Table = &[Entry { name: "B", explanation: "b | c" }, Entry { name: "A", explanation: "a" }];
    const B: Table = &[Entry { name: "A", explanation: "other" }, Entry { name: "A", explanation: "third" }];

    #[test]
    fn markdown_sorts_codes_and_escapes_bars() {
        assert_eq!(
            markdown("T", &[("One", A)]),
            "# T\n\n## One\n\n| Code | Meaning |\n|---|---|\n| `A` | a |\n| `B` | b \\| c |\n"
        );
    }

    #[test]
    fn a_name_with_two_meanings_is_found_once() {
        assert_eq!(duplicates(&[A]), Vec::<&str>::new());
        assert_eq!(duplicates(&[A, B]), vec!["A"]);
    }
}
