//! Runs a short helper in the guest to its end.

use bytes::Bytes;
use containerssh_backend::{BackendError, Output, ProgramOutput};

use super::output::Receiver;
use super::request::Streams;
use super::writer::Writer;
use super::{Target, connection};

/// What is kept of a helper's output: enough for any message.
const MAX_OUTPUT: usize = 4 * 1024;

/// How a helper ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finished {
    /// Its exit status.
    pub(crate) code: u32,
    /// The start of what it wrote, on either stream.
    pub(crate) output: Vec<u8>,
}

/// Runs `argv` with `input`, if any, on its standard input, which stays open. The caller sets the deadline.
pub(crate) async fn run(
    target: &Target,
    argv: Vec<String>,
    input: Option<Bytes>,
) -> Result<Finished, BackendError> {
    let streams = Streams { stdin: input.is_some(), terminal: false };
    let (reader, writer) = connection::open(target, &argv, streams).await?;
    let feed = async {
        if let Some(input) = input {
            // A helper that ends without its input says why by its status.
            let _ = writer.stdin(input).await;
        }
    };
    let (finished, ()) = tokio::join!(collect(Receiver::new(reader, None)), feed);
    finished
}

/// Starts `argv` with standard input and output for whoever asks, who also sets the deadline.
pub(crate) async fn pipe(target: &Target, argv: &[String]) -> Result<(Receiver, Writer), BackendError> {
    let (reader, writer) = connection::open(target, argv, Streams { stdin: true, terminal: false }).await?;
    Ok((Receiver::new(reader, None), writer))
}

async fn collect(mut receiver: Receiver) -> Result<Finished, BackendError> {
    let mut output = Vec::new();
    loop {
        match receiver.next().await? {
            Output::Stdout(data) | Output::Stderr(data) => {
                let room = MAX_OUTPUT - output.len();
                output.extend_from_slice(data.get(..data.len().min(room)).unwrap_or_default());
            }
            Output::Exit(code) => return Ok(Finished { code, output }),
            Output::ExitSignal { signal, .. } => {
                return Err(BackendError::ProgramFailed(format!(
                    "A helper was ended by the signal {signal}."
                )));
            }
        }
    }
}
