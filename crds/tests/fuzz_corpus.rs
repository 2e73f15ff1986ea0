//! What fuzzing found worth keeping (gateway/fuzz), run again, without a fuzzer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a target says by a panic what is wrong"
)]

#[path = "../../gateway/fuzz/replay.rs"]
mod replay;

#[path = "../../gateway/fuzz/targets/merge.rs"]
mod merge;

use replay::replay;

#[test]
fn the_corpus_of_policies_holds() {
    replay("merge", merge::run);
}
