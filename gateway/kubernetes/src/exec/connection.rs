//! Opens an exec stream and splits it.

use std::sync::Arc;

use containerssh_backend::BackendError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::reader::Reader;
use super::request::{Streams, request};
use super::writer::{Activity, Writer};
use super::{Target, writer};

/// Ends the writer's task when both directions are gone.
#[derive(Debug, Clone)]
pub(crate) struct Hold(#[expect(dead_code, reason = "held for its drop")] Arc<DropGuard>);

/// Pongs that wait to be sent. RFC 6455 section 5.5.3 lets us answer only the newest of several pings, so more than a
/// few are not worth keeping.
const PONG_QUEUE: usize = 4;

/// Starts `argv` in the container. Returns once the cluster has accepted the request, which says nothing yet about the
/// program.
pub(crate) async fn open(
    target: &Target,
    argv: &[String],
    streams: Streams,
) -> Result<(Reader, Writer), BackendError> {
    let request = request(target, argv, streams)?;
    let connection = target.client.connect(request).await.map_err(|error| refused(target, error))?;
    if !connection.supports_stream_close() {
        return Err(BackendError::ProgramFailed(
            "The cluster speaks only version 4 of the remote command protocol, which loses output; version 5 needs \
             Kubernetes 1.30 or later."
                .to_owned(),
        ));
    }
    // Nothing has been read through it, so nothing is lost by taking the connection out.
    Ok(split(connection.into_stream().into_inner()))
}

/// Makes the two directions of an upgraded connection.
pub(crate) fn split<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S) -> (Reader, Writer) {
    let (source, sink) = tokio::io::split(stream);
    let stop = CancellationToken::new();
    let hold = Hold(Arc::new(stop.clone().drop_guard()));
    let activity = Arc::new(Activity::default());
    let (pongs, pong_queue) = mpsc::channel(PONG_QUEUE);
    let writer = writer::spawn(sink, pong_queue, Arc::clone(&activity), stop, hold.clone());
    (Reader::new(Box::new(source), pongs, activity, hold), writer)
}

/// Why the request was not accepted, in words for whoever can mend it.
fn refused(target: &Target, error: kube::Error) -> BackendError {
    match error {
        kube::Error::Api(status) if status.is_not_found() => {
            BackendError::GuestGone(format!("The pod {}/{} is gone.", target.namespace, target.pod))
        }
        kube::Error::Api(status) if status.is_forbidden() => BackendError::ProgramFailed(format!(
            "The gateway may not run programs in pods (it needs get and create on pods/exec): {}",
            status.message
        )),
        kube::Error::Api(status) => {
            BackendError::ProgramFailed(format!("The cluster refused to run the program: {}", status.message))
        }
        error => BackendError::ProgramFailed(format!(
            "The program could not be started: {}",
            crate::client::describe(&error)
        )),
    }
}
