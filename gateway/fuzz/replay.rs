//! What fuzzing found worth keeping, run again without a fuzzer: a part of tests of the crates whose code it is.

use std::path::Path;

/// Runs a target over its part of the corpus.
pub fn replay(target: &str, run: fn(&[u8])) {
    // Tests run in the directory of their crate: one beside this, the one above, or one beside that.
    let fuzz = ["../fuzz", "fuzz", "../gateway/fuzz"].into_iter().map(Path::new).find(|path| path.is_dir());
    let corpus = fuzz.expect("the corpus").join("corpus").join(target);
    let mut inputs: Vec<_> = std::fs::read_dir(&corpus)
        .unwrap_or_else(|error| panic!("{}: {error}", corpus.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} is empty", corpus.display());
    for input in inputs {
        let data = std::fs::read(&input).unwrap();
        if std::panic::catch_unwind(|| run(&data)).is_err() {
            panic!("{} breaks it", input.display());
        }
    }
}
