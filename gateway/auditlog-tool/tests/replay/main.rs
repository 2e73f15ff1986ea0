//! Replays as their viewers see them: casts in asciinema, `play` on a terminal, `html` in a browser.
//!
//! The viewers are the real ones. `asciinema`, `chromium` and `script` have to be installed; e2e/test installs them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy.toml exempts test functions, not their helpers"
)]

mod cast;
mod html;
mod play;
mod session;
mod terminal;

const TOOL: &str = env!("CARGO_BIN_EXE_containerssh-auditlog-tool");
