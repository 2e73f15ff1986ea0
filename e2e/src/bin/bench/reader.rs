//! Reading logs: records in this process, and the tool as its users run it, against `gunzip` and `grep`.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use containerssh_auditlog::member::Scratch;
use containerssh_auditlog::{Decoder, HEADER_LEN, Payload};
use flate2::read::MultiGzDecoder;

use crate::{Figure, encoder, median, terminal};

const ROUNDS: usize = 5;
const TOOL: &str = "containerssh-auditlog-tool";
/// What is searched for: it occurs here and there in what was shown.
const PATTERN: &str = "README";
/// And in the file that the editor shows.
const FULL_SCREEN_PATTERN: &str = "containerssh";

/// A log of what was shown on a terminal.
pub(crate) struct Log {
    file: tempfile::NamedTempFile,
    bytes: Vec<u8>,
    pattern: &'static str,
    /// Session data in it, in bytes.
    data: usize,
    /// Its records, decompressed. Speeds are of these.
    megabytes: f64,
}

impl Log {
    /// Of all kinds of work.
    pub(crate) fn make() -> Result<Self> {
        Self::of(&terminal::text()?, PATTERN)
    }

    /// Of programs that paint the whole screen, again and again.
    pub(crate) fn of_full_screens() -> Result<Self> {
        Self::of(&terminal::full_screens()?, FULL_SCREEN_PATTERN)
    }

    fn of(text: &[u8], pattern: &'static str) -> Result<Self> {
        let session = encoder::pieces(text);
        // Without the terminal the tool would search lines and render nothing.
        let terminal = Payload::ChannelRequestPty {
            request_id: 0,
            term: "xterm-256color".into(),
            columns: terminal::COLUMNS,
            rows: terminal::ROWS,
            width: 0,
            height: 0,
            mode_list: None,
        };
        let bytes = encoder::log(&[terminal], &session, &mut Scratch::new());
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(&bytes)?;
        let megabytes = encoder::records(&session).len() as f64 / 1e6;
        Ok(Self { file, bytes, pattern, data: text.len(), megabytes })
    }

    fn path(&self) -> Result<&str> {
        self.file.path().to_str().context("a path in UTF-8")
    }

    /// A pipeline of other programs over the gzip part.
    fn gunzip(&self, then: &str) -> Result<String> {
        let skip = HEADER_LEN + 1;
        Ok(format!("tail -c +{skip} '{}' | gunzip -c {then}", self.path()?))
    }

    /// Every record as a message, in this process; the peer only decompresses. MB/s of records, on one core.
    pub(crate) fn records(&self) -> Result<Figure> {
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let mut data = 0;
            for message in Decoder::new(&self.bytes[..])? {
                if let Payload::Io { data: piece, .. } = message?.payload {
                    data += piece.len();
                }
            }
            ours.push(self.megabytes / start.elapsed().as_secs_f64());
            ensure!(data == self.data, "{data} bytes of {} were read", self.data);

            let start = Instant::now();
            let mut chunk = vec![0; 64 << 10];
            let mut gunzip = MultiGzDecoder::new(&self.bytes[HEADER_LEN..]);
            while gunzip.read(&mut chunk)? > 0 {}
            peer.push(self.megabytes / start.elapsed().as_secs_f64());
        }
        Ok(Figure { name: "decoder", ours: median(ours), peer: median(peer), unit: "MB/s" })
    }

    /// The tool printing every record as JSON; the peer is `gunzip`. MB/s of records.
    pub(crate) fn json(&self) -> Result<Figure> {
        let path = self.path()?;
        self.compare("decoder-json", &["convert", "--format", "json", path], &self.gunzip(">/dev/null")?)
    }

    /// The tool searching what was seen and typed; the peer is `gunzip` and `grep` on what was written. MB/s of records.
    pub(crate) fn search(&self, name: &'static str) -> Result<Figure> {
        let path = self.path()?;
        self.compare(
            name,
            &["search", self.pattern, path],
            &self.gunzip(&format!("| grep -a {} >/dev/null", self.pattern))?,
        )
    }

    fn compare(&self, name: &'static str, arguments: &[&str], peer_command: &str) -> Result<Figure> {
        let tool = tool()?;
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(self.rate(Command::new(&tool).args(arguments))?);
            peer.push(self.rate(Command::new("sh").arg("-c").arg(peer_command))?);
        }
        Ok(Figure { name, ours: median(ours), peer: median(peer), unit: "MB/s" })
    }

    fn rate(&self, command: &mut Command) -> Result<f64> {
        let start = Instant::now();
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "{command:?}: {status}");
        Ok(self.megabytes / start.elapsed().as_secs_f64())
    }
}

/// The tool, built beside this program.
fn tool() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let tool = this.parent().unwrap_or(Path::new(".")).join(TOOL);
    ensure!(tool.exists(), "{} is not built: `e2e/images programs` builds it", tool.display());
    Ok(tool)
}
