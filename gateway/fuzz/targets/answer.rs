//! Any bytes as a webhook's answer: nobody is let in unless it says so in one way, what it brings is bounded, and an error repeats
//! nothing that could act on a terminal.

use containerssh_auth::Verdict;
use containerssh_auth::webhook::{MAX_ENTRIES, MAX_FILES, read_answer, read_configured};

fn check_error(error: &str) {
    assert!(!error.is_empty() && error.len() < 1000, "{} bytes", error.len());
    assert!(!error.chars().any(char::is_control), "{error:?}");
}

pub fn run(data: &[u8]) {
    match read_answer(data) {
        Ok(Verdict::Accepted(identity)) => {
            // Of fields that it does not know it does not even look whether their text is any.
            if let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) {
                assert_eq!(value["success"], true, "it does not say so");
            }
            assert!(identity.metadata.len() <= MAX_ENTRIES && identity.environment.len() <= MAX_ENTRIES);
            assert!(identity.files.len() <= MAX_FILES);
            assert!(identity.files.keys().all(|path| path.starts_with('/') && !path.contains("/../")));
        }
        Ok(Verdict::Rejected) => {}
        Ok(Verdict::Unavailable(reason)) => panic!("{reason}"),
        Err(error) => check_error(&error),
    }
    match read_configured(data) {
        Ok(configured) => assert!(configured.config.is_object()),
        Err(error) => check_error(&error),
    }
}
