//! What fuzzing found worth keeping (gateway/fuzz), run again, without a fuzzer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a target says by a panic what is wrong"
)]

use std::path::Path;

#[path = "../../gateway/fuzz/targets/plan.rs"]
mod plan;

#[test]
fn the_corpus_of_gateways_under_policies_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway/fuzz/corpus/plan");
    let inputs: Vec<_> = std::fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!inputs.is_empty(), "{} is empty", corpus.display());
    for input in inputs {
        let data = std::fs::read(&input).unwrap();
        if std::panic::catch_unwind(|| plan::run(&data)).is_err() {
            panic!("{} breaks it", input.display());
        }
    }
}
