//! A terminal with somebody before it: runs a command in a pseudoterminal and looks at the screen.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Terminal {
    child: Child,
    keys: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
    model: avt::Terminal,
    joiner: containerssh_auditlog::text::Joiner,
    /// Everything that was written to the terminal.
    written: Vec<u8>,
    /// What is yet to be shown: one screen at a time, so that none is missed.
    waiting: Vec<u8>,
}

/// How the player begins a screen.
const SCREEN: &[u8] = b"\x1b[?25l";

impl Terminal {
    /// Runs a shell command on a terminal of this size.
    pub(crate) fn run(command: &str, columns: usize, rows: usize) -> Self {
        // script takes the echo away; a terminal has it.
        let command = format!("stty cols {columns} rows {rows} echo; {command}");
        let mut child = Command::new("script")
            .args(["--quiet", "--flush", "--return", "--echo", "never", "--command", &command, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let (sender, output) = channel();
        let mut stdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = stdout.read(&mut buffer) {
                if length == 0 || sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        let keys = child.stdin.take();
        let model = avt::Terminal::new(columns, rows).unwrap();
        Self {
            child,
            keys,
            output,
            model,
            joiner: Default::default(),
            written: Vec::new(),
            waiting: Vec::new(),
        }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        let pipe = self.keys.as_mut().unwrap();
        pipe.write_all(keys.as_bytes()).unwrap();
        pipe.flush().unwrap();
    }

    /// The rows as they are now.
    pub(crate) fn rows(&self) -> Vec<String> {
        self.model.screen().visible_lines().map(|line| line.text().trim_end().to_owned()).collect()
    }

    /// Waits until the screen is as wanted.
    pub(crate) fn wait(&mut self, what: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rows = self.rows();
            if wanted(&rows) {
                return rows;
            }
            if self.show_next() {
                continue;
            }
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(output) => self.waiting.extend_from_slice(&output),
                Err(error) => panic!("never seen: {what} ({error}); the screen:\n{}", rows.join("\n")),
            }
        }
    }

    /// Waits until a row contains this.
    pub(crate) fn see(&mut self, text: &str) -> Vec<String> {
        self.wait(text, |rows| rows.iter().any(|row| row.contains(text)))
    }

    /// Waits for the end of the command.
    pub(crate) fn end(mut self) -> (Vec<String>, Vec<u8>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(output) => self.waiting.extend_from_slice(&output),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end:\n{}", self.rows().join("\n")),
            }
        }
        while self.show_next() {}
        drop(self.keys.take());
        self.child.wait().unwrap();
        (self.rows(), self.written.clone())
    }

    /// Shows what is waiting, up to where the next screen begins. False if nothing is.
    fn show_next(&mut self) -> bool {
        let next = self.waiting.windows(SCREEN.len()).skip(1).position(|window| window == SCREEN);
        let output: Vec<u8> = self.waiting.drain(..next.map_or(self.waiting.len(), |at| at + 1)).collect();
        self.written.extend_from_slice(&output);
        let text = self.joiner.push(&output);
        self.model.feed(&*text);
        !output.is_empty()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
