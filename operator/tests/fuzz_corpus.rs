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

#[path = "../../gateway/fuzz/targets/plan.rs"]
mod plan;

use replay::replay;

#[test]
fn the_corpus_of_gateways_under_policies_holds() {
    replay("plan", plan::run);
}
