//! Scalar types of the configuration.

pub mod duration;
pub mod keyword;
pub(crate) mod listen;
mod pem;
mod prefix;
mod secret;
mod size;

pub use pem::{PemError, PemOrFile};
pub use prefix::{KeyPrefix, PrefixPart};
pub use secret::Secret;
pub use size::ByteSize;

pub(crate) use secret::masked;
