//! Programs on this host, as the SSH server's tasks drive them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking; clippy exempts only functions that are tests themselves"
)]

mod ending;
mod sftp;
mod streams;
mod support;
mod terminals;
mod users;
