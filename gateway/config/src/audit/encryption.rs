//! `audit.encryption`: who may read the records.

use bech32::FromBase32 as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parse::Problems;

/// Each adds 100 bytes and a key agreement to every piece that is encrypted on its own.
const MAX_RECIPIENTS: usize = 16;

/// `audit.encryption`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Encryption {
    /// X25519 recipients of age (`age1…`): records are encrypted to all of them, and each can read them alone. None:
    /// records are not encrypted.
    pub recipients: Vec<String>,
}

impl Encryption {
    /// Whether records are encrypted.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.recipients.is_empty()
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        if self.recipients.len() > MAX_RECIPIENTS {
            problems
                .invalid("audit.encryption.recipients", format!("has more than {MAX_RECIPIENTS} entries"));
        }
        for (index, recipient) in self.recipients.iter().enumerate() {
            let path = format!("audit.encryption.recipients[{index}]");
            if recipient.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
                // The text itself stays out of the message.
                problems.invalid(path, "is a secret key: give the public one, which begins with age1");
            } else if !is_recipient(recipient) {
                problems.invalid(
                    path,
                    "must be an X25519 recipient of age as age-keygen prints it (\"age1\" and 58 letters and \
                     digits); one of them is mistyped",
                );
            } else if self.recipients.iter().take(index).any(|earlier| earlier == recipient) {
                problems.invalid(path, "is there twice");
            }
        }
    }
}

/// Whether it is Bech32 (BIP 173) of a 32-byte key, checksum and all: what a typing error would cost is that nobody can
/// read the records.
fn is_recipient(text: &str) -> bool {
    match bech32::decode(text) {
        Ok((prefix, data, bech32::Variant::Bech32)) => {
            prefix == "age" && Vec::from_base32(&data).is_ok_and(|key| key.len() == 32)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the format's specification (C2SP age.md).
    const GOOD: &str = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

    #[test]
    fn a_mistyped_recipient_is_noticed() {
        assert!(is_recipient(GOOD));
        for at in 4..GOOD.len() {
            let mut typo = GOOD.to_owned();
            let other = if &GOOD[at..=at] == "q" { "p" } else { "q" };
            typo.replace_range(at..=at, other);
            assert!(!is_recipient(&typo), "{typo}");
        }
        for bad in ["", "age1", "alice@example.net", &GOOD[1..], &GOOD[..GOOD.len() - 1]] {
            assert!(!is_recipient(bad), "{bad}");
        }
    }
}
