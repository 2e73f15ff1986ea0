//! One program of the guest over one connection.

use containerssh_backend::{Output, Program, ProgramInput, ProgramOutput, Signal};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Connection;
use crate::forwarded::send_data;
use crate::frame::{FrameReader, FrameWriter, Kind};
use crate::message::{End, Reply, decode_size};

/// Runs it to its end, or to that of the connection.
pub(super) async fn run(
    mut connection: Connection<impl AsyncRead + Send + Unpin, impl AsyncWrite + Send + Unpin>,
    program: Program,
) {
    if connection.reply(&Reply::Done).await.is_err() {
        return;
    }
    let Program { mut input, mut output } = program;
    let ended = tokio::select! {
        ended = outwards(&mut connection.writer, output.as_mut()) => ended,
        () = inwards(&mut connection.reader, input.as_mut()) => false,
        // Nobody reads while the program does not; the gateway may be gone all the same.
        () = connection.socket.closed_by_peer() => false,
    };
    // What still runs is ended.
    drop((input, output));
    if ended {
        connection.close().await;
    }
}

/// Resolves when the gateway is gone or breaks the protocol.
async fn inwards(reader: &mut FrameReader<impl AsyncRead + Unpin>, input: &mut dyn ProgramInput) {
    while let Ok(Some((kind, content))) = reader.next().await {
        // What the program does not take (any more) is dropped, as by a closed pipe.
        let _ = match kind {
            Kind::Data => input.stdin(content).await,
            Kind::Eof => input.eof().await,
            Kind::Resize => match decode_size(&content) {
                Some(size) => input.resize(size).await,
                None => return,
            },
            Kind::Signal => match std::str::from_utf8(&content).ok().and_then(Signal::parse) {
                Some(signal) => input.signal(signal).await,
                None => return,
            },
            _ => return,
        };
    }
}

/// Whether the program's end was told.
async fn outwards(writer: &mut FrameWriter<impl AsyncWrite + Unpin>, output: &mut dyn ProgramOutput) -> bool {
    loop {
        let sent = match output.next().await {
            Ok(Output::Stdout(data)) => send_data(writer, Kind::Data, data).await,
            Ok(Output::Stderr(data)) => send_data(writer, Kind::Stderr, data).await,
            Ok(Output::Exit(status)) => return end(writer, End::Exit(status)).await,
            Ok(Output::ExitSignal { signal, core_dumped, message }) => {
                return end(writer, End::Signal { signal, core_dumped, message }).await;
            }
            Err(error) => return end(writer, End::Lost(error.into())).await,
        };
        if sent.is_err() {
            return false;
        }
    }
}

async fn end(writer: &mut FrameWriter<impl AsyncWrite + Unpin>, end: End) -> bool {
    match serde_json::to_vec(&end) {
        Ok(content) => writer.send(Kind::End, content.into()).await.is_ok(),
        Err(_) => false,
    }
}
