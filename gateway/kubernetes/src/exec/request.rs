//! The exec request. Pure.

use containerssh_backend::BackendError;
use http::Request;
use kube::api::AttachParams;

use super::Target;

/// The longest request target: [`http::Uri`] takes 65,534 bytes, of which the API server's address needs a few.
const MAX_TARGET: usize = 65_000;

/// Which streams the program gets. Standard output always; standard error unless it has a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Streams {
    pub(crate) stdin: bool,
    pub(crate) terminal: bool,
}

/// Builds the request that starts `argv`.
pub(crate) fn request(
    target: &Target,
    argv: &[String],
    streams: Streams,
) -> Result<Request<Vec<u8>>, BackendError> {
    let parameters = AttachParams {
        container: Some(target.container.clone()),
        stdin: streams.stdin,
        stdout: true,
        stderr: !streams.terminal,
        tty: streams.terminal,
        ..AttachParams::default()
    };
    let url = format!("/api/v1/namespaces/{}/pods", target.namespace);
    let request = kube::core::Request::new(url).exec(&target.pod, argv, &parameters);
    match request {
        Ok(request) if request.uri().to_string().len() <= MAX_TARGET => Ok(request),
        // A program's arguments travel in the URL, percent-encoded: that is the protocol.
        Ok(_) | Err(kube::core::request::Error::BuildRequest(_)) => {
            Err(BackendError::ProgramFailed(format!(
                "The command and its environment are too long for this cluster: {} bytes, where about 20,000 to 60,000 \
             fit. Send the command's data on its standard input.",
                argv.iter().map(String::len).sum::<usize>()
            )))
        }
        Err(error) => {
            Err(BackendError::ProgramFailed(format!("The command cannot be sent to the cluster: {error}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn uri(argv: &[&str], streams: Streams) -> Result<String, BackendError> {
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let target = Target { pod: "containerssh-1".to_owned(), ..crate::testing::target() };
        request(&target, &argv, streams).map(|request| request.uri().to_string())
    }

    #[tokio::test]
    async fn words_are_encoded_and_not_split() {
        let uri = uri(&["/bin/sh", "-c", "a b&stdin=false\n%"], Streams { stdin: true, terminal: false })
            .await
            .unwrap();
        assert_eq!(
            uri,
            "/api/v1/namespaces/guests/pods/containerssh-1/exec?&stdin=true&stdout=true&stderr=true&container=shell\
             &command=%2Fbin%2Fsh&command=-c&command=a+b%26stdin%3Dfalse%0A%25"
        );
    }

    #[tokio::test]
    async fn a_terminal_has_no_separate_standard_error() {
        let uri = uri(&["x"], Streams { stdin: true, terminal: true }).await.unwrap();
        assert!(uri.contains("tty=true") && !uri.contains("stderr"), "{uri}");
    }

    #[tokio::test]
    async fn a_command_too_long_for_a_url_is_refused_with_the_reason() {
        for length in [64_990, 70_000, 1_000_000] {
            let error =
                uri(&[&"x".repeat(length)], Streams { stdin: true, terminal: false }).await.unwrap_err();
            assert!(
                matches!(&error, BackendError::ProgramFailed(text) if text.contains(&length.to_string())),
                "{error}"
            );
        }
    }
}
