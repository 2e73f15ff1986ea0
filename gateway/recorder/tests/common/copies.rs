//! Copies of a spool, taken while it is written: what a killed process leaves.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{records, spool};

/// Copies taken before anything is acknowledged. On a slow disk that may last; of what such a copy holds, little can be missed.
const EARLY: usize = 4;

/// Copies the spool again and again while `pump` writes, until `most` copies were taken of a spool of which something was
/// acknowledged. Each stands with the bytes acknowledged before it was taken.
pub async fn under_way(
    pump: &tokio::task::JoinHandle<()>,
    acknowledged: &AtomicUsize,
    most: usize,
    mut copy_to: impl FnMut(&Path),
) -> Vec<(usize, tempfile::TempDir)> {
    let mut copies = Vec::new();
    let mut late = 0;
    while !pump.is_finished() && late < most {
        let before = acknowledged.load(Ordering::SeqCst);
        late += usize::from(before > 0);
        if before > 0 || copies.len() < EARLY {
            let copy = tempfile::tempdir().unwrap();
            copy_to(copy.path());
            copies.push((before, copy));
        }
        tokio::task::yield_now().await;
    }
    copies
}

/// The files of a spool.
pub fn files(root: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(spool(root)).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Copies these files of a spool, in this order, and lets its records go to the copy's own directory.
pub fn copy(files: Vec<PathBuf>, from: &Path, to: &Path) {
    std::fs::create_dir(spool(to)).unwrap();
    for path in files {
        let Ok(content) = std::fs::read(&path) else { continue };
        let target = spool(to).join(path.file_name().unwrap());
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = String::from_utf8(content).unwrap();
            let text = text.replace(records(from).to_str().unwrap(), records(to).to_str().unwrap());
            std::fs::write(target, text).unwrap();
        } else {
            std::fs::write(target, content).unwrap();
        }
    }
}
