//! The agent's program as the gateway drives it: started, greeted, connected to, and ended.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking; clippy exempts only functions that are tests themselves"
)]

mod forwarding;
mod programs;
mod strangers;
mod support;
