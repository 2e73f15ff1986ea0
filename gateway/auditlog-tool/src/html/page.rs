//! The file around the data: a page that loads nothing and trusts nothing.
//!
//! - Its policy (CSP) allows no network, no frames, no forms, and no script or style but the two that are in the file, by their
//!   hashes. Were a recorded text ever taken for markup, it could still not run.
//! - Recorded text is base64, or JSON in which `<`, `>` and `&` are escaped; the script puts it into the page as text only.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::io::{self, Write};

use crate::error::ToolError;
use crate::output::Output;

const BODY: &str = include_str!("page.html");
const STYLE: &str = include_str!("player.css");
const SCRIPT: &str = include_str!("player.js");

/// Bytes of lines that the compressor is given before it has to hand over what it has.
const FLUSH: usize = 256 << 10;
/// What is kept free for the end of the page, in bytes.
const RESERVE: u64 = 64 << 10;

/// How the lines stand in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Compressed, in base64.
    Gzip,
    /// As they are.
    Plain,
}

/// What the page says about the log; written last, when all is known.
#[derive(Debug, Serialize)]
pub(crate) struct Meta {
    /// Name and value, in order.
    pub(crate) header: Vec<(&'static str, String)>,
    pub(crate) warnings: Vec<String>,
    /// Milliseconds since 1970.
    pub(crate) start: u64,
    /// Milliseconds.
    pub(crate) duration: u64,
    pub(crate) channels: Vec<About>,
}

/// What the page says about a channel.
#[derive(Debug, Default, Serialize)]
pub(crate) struct About {
    pub(crate) id: u64,
    pub(crate) title: String,
    /// Why nothing of it is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// A page that is being written.
pub(crate) struct Page {
    data: Data,
    /// Bytes written, and those kept free.
    total: u64,
    max: u64,
    /// Bytes of lines that the compressor may still hold.
    unflushed: usize,
}

enum Data {
    /// What is compressed and not yet written waits in the encoder's buffer.
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Plain,
}

impl Page {
    /// Starts a page of at most about `max` bytes.
    pub(crate) fn begin(packing: Packing, max: u64, output: &mut Output) -> Result<Self, ToolError> {
        let (script, style) = (hash(SCRIPT), hash(STYLE));
        let kind = match packing {
            Packing::Gzip => "gzip",
            Packing::Plain => "plain",
        };
        let head = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'sha256-{script}'; \
             style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>Recorded SSH session</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{BODY}\
             <script type=\"application/octet-stream\" id=\"data\" data-packing=\"{kind}\">"
        );
        output.write(head.as_bytes())?;
        let data = match packing {
            Packing::Gzip => Data::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::default()))),
            Packing::Plain => Data::Plain,
        };
        let total = (head.len() + SCRIPT.len()) as u64 + RESERVE;
        Ok(Self { data, total, max, unflushed: 0 })
    }

    /// Whether lines of this many bytes surely fit.
    pub(crate) fn has_room(&mut self, bytes: usize, output: &mut Output) -> Result<bool, ToolError> {
        if self.fits(bytes) {
            return Ok(true);
        }
        if self.unflushed == 0 {
            return Ok(false);
        }
        // What the compressor holds may have become much smaller than had to be feared.
        self.flush(output)?;
        Ok(self.fits(bytes))
    }

    fn fits(&self, bytes: usize) -> bool {
        // Base64 makes four of three; compression may make nothing smaller, and costs a little.
        let pending = (self.unflushed + bytes) as u64;
        self.total + pending + pending / 2 <= self.max
    }

    /// Writes lines.
    pub(crate) fn lines(&mut self, lines: &[u8], output: &mut Output) -> Result<(), ToolError> {
        match &mut self.data {
            Data::Gzip(gzip) => {
                self.unflushed += lines.len();
                gzip.write_all(lines).map_err(failed)?;
                if self.unflushed >= FLUSH { self.flush(output) } else { Ok(()) }
            }
            Data::Plain => self.write(&without_markup(lines), output),
        }
    }

    /// Writes what the compressor holds.
    fn flush(&mut self, output: &mut Output) -> Result<(), ToolError> {
        self.unflushed = 0;
        let Data::Gzip(gzip) = &mut self.data else { return Ok(()) };
        gzip.flush().map_err(failed)?;
        let compressed = gzip.get_mut();
        // Base64 takes three bytes at a time; only the end may be filled up.
        let rest = compressed.split_off(compressed.len() / 3 * 3);
        let ready = STANDARD.encode(std::mem::replace(compressed, rest));
        self.write(ready.as_bytes(), output)
    }

    fn write(&mut self, ready: &[u8], output: &mut Output) -> Result<(), ToolError> {
        self.total += ready.len() as u64;
        output.write(ready)
    }

    /// Ends the page.
    pub(crate) fn finish(self, meta: &Meta, output: &mut Output) -> Result<(), ToolError> {
        if let Data::Gzip(gzip) = self.data {
            let rest = gzip.finish().map_err(failed)?;
            output.write(STANDARD.encode(rest).as_bytes())?;
        }
        let meta = serde_json::to_vec(meta).map_err(|error| failed(error.into()))?;
        output.write(b"</script>\n<script type=\"application/json\" id=\"meta\">")?;
        output.write(&without_markup(&meta))?;
        output.write(format!("</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n").as_bytes())
    }
}

fn failed(error: io::Error) -> ToolError {
    ToolError::Write { name: "the page".to_owned(), error }
}

/// JSON that means the same and can stand inside a script element. These characters occur only within its strings.
fn without_markup(json: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(json.len() + json.len() / 8);
    for byte in json {
        match byte {
            b'<' => escaped.extend_from_slice(b"\\u003c"),
            b'>' => escaped.extend_from_slice(b"\\u003e"),
            b'&' => escaped.extend_from_slice(b"\\u0026"),
            _ => escaped.push(*byte),
        }
    }
    escaped
}

/// A script's or style's hash, as policies have it.
fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text))
}
