//! Logs to replay.

use std::path::{Path, PathBuf};

use containerssh_auditlog::member::{self, Scratch};
use containerssh_auditlog::{Encoder, IoStream, Payload, Version, encode, header};

pub(crate) const START: u64 = 1_795_252_585_000_000_000;

/// A log that is being written, as our gateway writes it.
pub(crate) struct Log {
    encoder: Encoder,
    content: Vec<u8>,
    time: u64,
}

impl Log {
    /// A connection of somebody who logs in.
    pub(crate) fn of(user: &str, remote: &str) -> Self {
        let mut content = Vec::new();
        encode::open(&mut content);
        let mut log =
            Self { encoder: Encoder::new("0123456789abcdef0123456789abcdef"), content, time: START };
        log.record(None, &Payload::Connect { remote_addr: remote.into(), country: "AT".into() });
        log.record(None, &Payload::AuthPasswordFailed { username: user.into(), password: None });
        log.record(None, &Payload::HandshakeSuccessful { username: user.into() });
        log
    }

    pub(crate) fn alice() -> Self {
        Self::of("alice", "192.0.2.17")
    }

    pub(crate) fn record(&mut self, channel: Option<u64>, payload: &Payload) -> &mut Self {
        self.encoder.record(&mut self.content, self.time, channel, payload);
        self
    }

    pub(crate) fn after(&mut self, milliseconds: u64) -> &mut Self {
        self.time += milliseconds * 1_000_000;
        self
    }

    pub(crate) fn pty(&mut self, channel: u64, columns: u32, rows: u32) -> &mut Self {
        let (request_id, term, mode_list) = (0, "xterm-256color".to_owned(), None);
        self.record(
            Some(channel),
            &Payload::ChannelRequestPty { request_id, term, columns, rows, width: 0, height: 0, mode_list },
        )
    }

    pub(crate) fn shell(&mut self, channel: u64, columns: u32, rows: u32) -> &mut Self {
        self.pty(channel, columns, rows)
            .record(Some(channel), &Payload::ChannelRequestShell { request_id: 1 })
    }

    pub(crate) fn exec(&mut self, channel: u64, program: &str) -> &mut Self {
        self.record(Some(channel), &Payload::ChannelRequestExec { request_id: 1, program: program.into() })
    }

    pub(crate) fn window(&mut self, channel: u64, columns: u32, rows: u32) -> &mut Self {
        self.record(
            Some(channel),
            &Payload::ChannelRequestWindow { request_id: 2, columns, rows, width: 0, height: 0 },
        )
    }

    pub(crate) fn io(&mut self, channel: u64, stream: IoStream, data: &[u8]) -> &mut Self {
        self.record(Some(channel), &Payload::Io { stream, data: data.to_vec().into() })
    }

    pub(crate) fn out(&mut self, channel: u64, data: &str) -> &mut Self {
        self.io(channel, IoStream::Stdout, data.as_bytes())
    }

    pub(crate) fn exit(&mut self, channel: u64, exit_status: u32) -> &mut Self {
        self.record(Some(channel), &Payload::Exit { exit_status }).record(Some(channel), &Payload::Close)
    }

    pub(crate) fn save(&mut self, directory: &Path) -> PathBuf {
        let mut content = std::mem::take(&mut self.content);
        encode::close(&mut content);
        let mut file = header(Version::V1).to_vec();
        member::compress(&content, &mut file, &mut Scratch::new());
        let path = directory.join("record");
        std::fs::write(&path, file).unwrap();
        path
    }
}

/// A shell with everything that terminals can do to text: colours, wide characters cut in two, an editor on the alternate screen,
/// a window that changes, lines that scroll away.
pub(crate) fn a_shell(directory: &Path) -> PathBuf {
    let mut log = Log::alice();
    log.after(1_000).shell(0, 60, 10);
    log.after(500).out(0, "$ ls\r\n\x1b[1;34mbin\x1b[0m  \x1b[38;2;255;128;0mnote\x1b[0m\r\n");
    log.after(500).io(0, IoStream::Stdout, b"\xe6\xbc").io(
        0,
        IoStream::Stdout,
        b"\xa2\xe5\xad\x97 caf\xc3\xa9\r\n$ ",
    );
    log.after(1_000).io(0, IoStream::Stdin, b"secret\r").out(0, "vim note\r\n");
    log.after(100).out(0, "\x1b[?1049h\x1b[2J\x1b[H\x1b[7m note \x1b[0m\r\n~\r\n~\x1b[10;1H-- INSERT --");
    log.after(900).out(0, "\x1b[?1049l");
    log.after(60_000).window(0, 50, 8);
    let lines: String = (1..=40).map(|number| format!("line {number}\r\n")).collect();
    log.after(1_000).out(0, &lines).out(0, "$ ");
    log.after(1_000).out(0, "exit\r\n").exit(0, 3);
    log.save(directory)
}

/// What is on the screen of [`a_shell`] at the end, below the last of 40 lines.
pub(crate) const LAST_LINES: [&str; 3] = ["line 39", "line 40", "$ exit"];

/// Everything that a session could try against who looks at it.
pub(crate) fn a_hostile_one(directory: &Path) -> PathBuf {
    let mut log =
        Log::of("</script><img src=x onerror=\"document.title='XSS'\">", "\x1b]0;owned\x07<b>bold</b>");
    log.shell(0, 80, 24);
    for output in HOSTILE {
        log.after(100).out(0, output);
    }
    log.after(100).window(0, u32::MAX, u32::MAX).out(0, "\x1b[65535S\x1b[99999L");
    log.after(100).window(0, 1, 1).out(0, "tiny");
    log.after(100).window(0, 0, 0).out(0, "\x1b[2J\x1b[Hthe end");
    log.exec(1, "</script><script>document.title='XSS'</script>").out(1, "one\ntwo\n");
    log.record(Some(1), &Payload::RequestFailed { request_id: 1, reason: "<svg onload=alert(1)>".into() });
    log.exit(1, 0).save(directory)
}

/// Markup, and sequences that write or make a terminal answer.
pub(crate) const HOSTILE: [&str; 9] = [
    "</script><script>document.title='XSS'</script><!--\r\n",
    "<img src=x onerror=\"document.title='XSS'\"> &amp; '\"\\\r\n",
    "\x1b]0;owned\x07\x1b]2;owned\x1b\\",
    "\x1b]52;c;b3duZWQ=\x07",
    "\x1bP$q\"p\x1b\\\x1bP+q544e\x1b\\",
    "\x1b[6n\x1b[5n\x1b[c\x1b[>c\x1b[>q\x1b[18t\x05",
    "\x1b[?1000h\x1b[?2004h\x1b[?1h\x1b=\x1b[4l\x1b(0\x1b(B",
    "\x1b_owned\x1b\\\x1b^owned\x1b\\\u{9d}0;owned\u{9c}",
    "\u{202e}txt.exe\u{200b}\r\n",
];
