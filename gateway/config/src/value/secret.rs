//! Text that must not be shown.

use std::cell::Cell;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// What stands in place of a secret.
pub(crate) const MASK: &str = "***";

thread_local! {
    static MASKED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `body` with every [`Secret`] serialised as `***` on this thread.
///
/// A property of the type rather than a list of paths to blank out: a secret field added tomorrow is masked too.
pub(crate) fn masked<T>(body: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            MASKED.set(self.0);
        }
    }
    let _restore = Restore(MASKED.replace(true));
    body()
}

/// Whether [`masked`] is in force.
pub(crate) fn is_masked() -> bool {
    MASKED.get()
}

/// A password, token or key. `Debug` shows `***`, and so does a [`dump`](crate::Config::dump); serialising shows it,
/// because the operator renders configuration files.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one place that uses it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if is_masked() { MASK } else { &self.0 })
    }
}
