//! How a program ended: the `metav1.Status` on the status channel.
//!
//! Source: `k8s.io/kubelet` `pkg/cri/streaming/remotecommand/exec.go`: `Success` for exit status 0; `Failure` with reason
//! `NonZeroExitCode` and a cause `ExitCode` for any other; `Failure` with another reason if the runtime could not run it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

/// A status longer than this is not one: real ones have a few hundred bytes, the longest quote a command line.
pub(crate) const MAX_STATUS: usize = 256 * 1024;

/// The longest part of a runtime's message that is passed on.
const MAX_MESSAGE: usize = 1024;

/// What the status says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The program ended with this exit status.
    Exited(u32),
    /// The runtime could not run the program or lost it.
    Failed(String),
}

/// Reads a status. What cannot be read is a failure: never a success by default.
pub(crate) fn verdict(json: &[u8]) -> Verdict {
    let status: Status = match serde_json::from_slice(json) {
        Ok(status) => status,
        Err(error) => {
            return Verdict::Failed(format!("the cluster sent a status that cannot be read: {error}"));
        }
    };
    if status.status.as_deref() == Some("Success") {
        return Verdict::Exited(0);
    }
    let message = status.message.unwrap_or_default();
    if status.reason.as_deref() == Some("NonZeroExitCode") {
        let causes = status.details.and_then(|details| details.causes).unwrap_or_default();
        let code = causes
            .into_iter()
            .find(|cause| cause.reason.as_deref() == Some("ExitCode"))
            .and_then(|cause| cause.message)
            .and_then(|code| code.parse::<u32>().ok());
        return match code {
            Some(code) if code != 0 => Verdict::Exited(code),
            _ => Verdict::Failed(format!(
                "the cluster sent an exit status that cannot be read: {}",
                cut(&message)
            )),
        };
    }
    if message.is_empty() {
        return Verdict::Failed("the cluster reported a failure without a reason".to_owned());
    }
    Verdict::Failed(cut(&message))
}

/// Whether a failure says that the first word of the command does not exist in the image.
pub(crate) fn is_missing_program(message: &str, program: &str) -> bool {
    message.contains(&format!("\"{program}\""))
        && (message.contains("no such file or directory") || message.contains("executable file not found"))
}

fn cut(message: &str) -> String {
    if message.len() <= MAX_MESSAGE {
        return message.to_owned();
    }
    let end = (0..=MAX_MESSAGE).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", message.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn success_is_exit_status_zero() {
        assert_eq!(verdict(br#"{"metadata":{},"status":"Success"}"#), Verdict::Exited(0));
    }

    #[test]
    fn a_non_zero_exit_code_comes_from_its_cause() {
        let json = br#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"143"}]}}"#;
        assert_eq!(verdict(json), Verdict::Exited(143));
    }

    #[test]
    fn a_failure_that_claims_exit_code_zero_or_none_is_a_failure() {
        for cause in ["0", "-1", "", "x", "99999999999"] {
            let json = format!(
                r#"{{"status":"Failure","message":"m","reason":"NonZeroExitCode","details":{{"causes":[{{"reason":"ExitCode","message":"{cause}"}}]}}}}"#
            );
            assert!(matches!(verdict(json.as_bytes()), Verdict::Failed(_)), "{cause}");
        }
    }

    #[test]
    fn a_runtime_failure_carries_its_message() {
        let json = br#"{"status":"Failure","reason":"InternalError","message":"error executing command in container: exec: \"/bin/sh\": stat /bin/sh: no such file or directory"}"#;
        let Verdict::Failed(message) = verdict(json) else { panic!("a failure") };
        assert!(is_missing_program(&message, "/bin/sh"));
        assert!(!is_missing_program(&message, "/bin/bash"));
    }

    proptest! {
        #[test]
        fn nothing_but_an_explicit_success_is_exit_status_zero(json in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_ne!(verdict(&json), Verdict::Exited(0));
        }

        #[test]
        fn long_messages_are_cut_at_a_character(message in "\\PC{0,2000}") {
            prop_assert!(cut(&message).len() <= MAX_MESSAGE + "…".len());
        }
    }
}
