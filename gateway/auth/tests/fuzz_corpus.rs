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

#[path = "../../fuzz/targets/answer.rs"]
mod answer;
#[path = "../../fuzz/targets/keys.rs"]
mod keys;
#[path = "../../fuzz/targets/krl.rs"]
mod krl;

use replay::replay;

#[test]
fn the_corpus_of_webhook_answers_holds() {
    replay("answer", answer::run);
}

#[test]
fn the_corpus_of_authorized_keys_holds() {
    replay("keys", keys::run);
}

#[test]
fn the_corpus_of_revocation_lists_holds() {
    replay("krl", krl::run);
}
