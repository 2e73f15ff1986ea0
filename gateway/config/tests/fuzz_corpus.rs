//! What fuzzing found worth keeping (gateway/fuzz), run again.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a target says by a panic what is wrong"
)]

#[path = "../../fuzz/replay.rs"]
mod replay;

#[path = "../../fuzz/targets/config.rs"]
mod config;

use replay::replay;

#[test]
fn the_corpus_of_configuration_files_holds() {
    replay("config", config::run);
}
