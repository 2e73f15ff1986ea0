//! What fuzzing found worth keeping (gateway/fuzz), run again: inputs that reach every corner of the readers, and those that once
//! broke them. No fuzzer is needed for it.
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

#[path = "../../fuzz/targets/cast.rs"]
mod cast;
#[path = "../../fuzz/targets/deflate.rs"]
mod deflate;
#[path = "../../fuzz/targets/log.rs"]
mod log;
#[path = "../../fuzz/targets/records.rs"]
mod records;
#[path = "../../fuzz/targets/recover.rs"]
mod recover;
#[path = "../../fuzz/targets/sftp.rs"]
mod sftp;
#[path = "../../fuzz/targets/verify.rs"]
mod verify;

use replay::replay;

#[test]
fn the_corpus_of_logs_holds() {
    replay("log", log::run);
}

#[test]
fn the_corpus_of_records_holds() {
    replay("records", records::run);
}

#[test]
fn the_corpus_of_files_after_a_crash_holds() {
    replay("recover", recover::run);
}

#[test]
fn the_corpus_of_contents_to_compress_holds() {
    replay("deflate", deflate::run);
}

#[test]
fn the_corpus_of_sessions_to_replay_holds() {
    replay("cast", cast::run);
}

#[test]
fn the_corpus_of_file_transfers_holds() {
    replay("sftp", sftp::run);
}

#[test]
fn the_corpus_of_edited_records_holds() {
    replay("verify", verify::run);
}
