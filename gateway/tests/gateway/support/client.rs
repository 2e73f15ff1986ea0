//! A client by the SSH library's other half.

use std::sync::Arc;

use russh::client::{self, AuthResult, Handle, Msg};
use russh::{Channel, ChannelMsg};

use super::{Gateway, within};

/// Trusts any host key: the tests' host is this machine.
#[derive(Debug)]
pub(crate) struct AnyHost;

impl client::Handler for AnyHost {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        _key: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

pub(crate) struct Client {
    pub(crate) session: Handle<AnyHost>,
}

/// What a program did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) status: Option<u32>,
    pub(crate) signal: Option<String>,
    /// End of file came after the status, and the close last.
    pub(crate) order: Vec<&'static str>,
}

impl Finished {
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl Client {
    /// Connects without logging in.
    pub(crate) async fn connect(gateway: &Gateway) -> Self {
        Self::connect_with(gateway, |_| {}).await
    }

    async fn connect_with(gateway: &Gateway, adjust: impl FnOnce(&mut client::Config)) -> Self {
        let mut config = client::Config { nodelay: true, ..client::Config::default() };
        adjust(&mut config);
        let connecting = client::connect(Arc::new(config), gateway.address, AnyHost);
        Self { session: within("a connection", connecting).await.unwrap() }
    }

    /// Speaks over a connection that somebody else has made.
    pub(crate) async fn over(stream: tokio::net::TcpStream) -> Self {
        let connecting = client::connect_stream(Arc::new(client::Config::default()), stream, AnyHost);
        Self { session: within("a connection", connecting).await.unwrap() }
    }

    pub(crate) async fn password(&mut self, user: &str, password: &str) -> AuthResult {
        within("an answer to a password", self.session.authenticate_password(user, password)).await.unwrap()
    }

    /// Connects and logs in.
    pub(crate) async fn login(gateway: &Gateway) -> Self {
        let mut client = Self::connect(gateway).await;
        assert!(client.password("alice", "secret").await.success());
        client
    }

    /// Likewise, as a client of that kind.
    pub(crate) async fn login_with(gateway: &Gateway, adjust: impl FnOnce(&mut client::Config)) -> Self {
        let mut client = Self::connect_with(gateway, adjust).await;
        assert!(client.password("alice", "secret").await.success());
        client
    }

    pub(crate) async fn open(&self) -> Channel<Msg> {
        within("a channel", self.session.channel_open_session()).await.unwrap()
    }

    /// Runs a command to its end, with `input` as its standard input.
    pub(crate) async fn exec(&self, command: &[u8], input: &[u8]) -> Finished {
        let channel = self.open().await;
        channel.exec(true, command).await.unwrap();
        finish(channel, input).await
    }
}

/// Sends `input` and its end while collecting what comes, until the channel closes.
pub(crate) async fn finish(channel: Channel<Msg>, input: &[u8]) -> Finished {
    let (read, write) = channel.split();
    let sending = async {
        // Fails when the program has ended without reading all of it.
        if write.data(input).await.is_ok() {
            let _ = write.eof().await;
        }
        std::future::pending::<()>().await;
    };
    within("a program's end", async {
        tokio::select! {
            () = sending => unreachable!(),
            finished = collect(read) => finished,
        }
    })
    .await
}

/// Collects what comes until the channel closes.
pub(crate) async fn collect(mut read: russh::ChannelReadHalf) -> Finished {
    let mut finished = Finished::default();
    while let Some(message) = read.wait().await {
        match message {
            ChannelMsg::Data { data } => finished.stdout.extend_from_slice(&data),
            ChannelMsg::ExtendedData { data, ext: 1 } => finished.stderr.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => {
                finished.status = Some(exit_status);
                finished.order.push("status");
            }
            ChannelMsg::ExitSignal { signal_name, .. } => {
                finished.signal = Some(format!("{signal_name:?}"));
                finished.order.push("signal");
            }
            ChannelMsg::Eof => finished.order.push("eof"),
            ChannelMsg::Close => finished.order.push("close"),
            ChannelMsg::Failure => finished.order.push("refused"),
            _ => {}
        }
    }
    finished
}

/// Reads output until `wanted` is in it.
pub(crate) async fn read_until(channel: &mut Channel<Msg>, wanted: &str) -> String {
    let mut seen = String::new();
    within(wanted, async {
        while !seen.contains(wanted) {
            match channel.wait().await {
                Some(ChannelMsg::Data { data }) => seen.push_str(&String::from_utf8_lossy(&data)),
                Some(_) => {}
                None => panic!("the channel ended before {wanted:?} came: {seen:?}"),
            }
        }
    })
    .await;
    seen
}

/// Waits for the answer to a request.
pub(crate) async fn granted(channel: &mut Channel<Msg>) -> bool {
    within("an answer to a request", async {
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => return true,
                Some(ChannelMsg::Failure) | None => return false,
                Some(_) => {}
            }
        }
    })
    .await
}
