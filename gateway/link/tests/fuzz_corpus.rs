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

#[path = "../../fuzz/targets/frames.rs"]
mod frames;

use replay::replay;

#[test]
fn the_corpus_of_what_an_agent_sends_holds() {
    replay("frames", frames::run);
}
