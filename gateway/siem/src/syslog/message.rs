//! One message: header and structured data (RFC 5424 section 6), then the event as JSON.

use std::io::Write as _;

use containerssh_log::clean;

use crate::encode::{self, Style};
use crate::event::{MAX_USERNAME, Source, start};
use crate::queue::Item;

/// RFC 5424 section 6.2.1.
const SEVERITY_WARNING: u8 = 4;
const SEVERITY_INFORMATIONAL: u8 = 6;

/// The structured data's id. The number is the one for documentation (RFC 5612), which is what software without one of its
/// own commonly uses.
const SD_ID: &str = "containerssh@32473";

/// The longest APP-NAME, PROCID, MSGID are shorter; the longest HOSTNAME (RFC 5424 section 6).
const MAX_HOSTNAME: usize = 255;

/// A message with its length before it (RFC 6587 section 3.4.1). Contents are cut so that it fits into `max` bytes.
pub(super) fn frame(source: &Source, item: &Item, style: Style, facility: u8, max: usize) -> Vec<u8> {
    let mut message = header(source, item, facility);
    let begin = message.len();
    let mut write = |limit: usize| {
        message.truncate(begin);
        encode::encode(&mut message, source, &item.event, item.sequence, Style { limit, ..style });
        message.len() <= max
    };
    if !write(style.limit) {
        // How long a text becomes depends on what is in it, so the most that fits is searched for.
        let (mut fits, mut too_long) = (0, style.limit.min(max));
        while fits + 1 < too_long {
            let middle = fits.midpoint(too_long);
            if write(middle) {
                fits = middle;
            } else {
                too_long = middle;
            }
        }
        write(fits);
    }
    let mut frame = Vec::with_capacity(message.len() + 8);
    let _infallible = write!(frame, "{} ", message.len());
    frame.extend_from_slice(&message);
    frame
}

fn header(source: &Source, item: &Item, facility: u8) -> Vec<u8> {
    let event = &item.event;
    let severity = if encode::is_warning(event) { SEVERITY_WARNING } else { SEVERITY_INFORMATIONAL };
    let mut out = Vec::with_capacity(256 + encode::size(event));
    let _infallible = write!(
        out,
        "<{}>1 {} {} containerssh - {} [{SD_ID}",
        u16::from(facility) * 8 + u16::from(severity),
        timestamp(event.at),
        hostname(&source.pod),
        event.what.name(),
    );
    parameter(&mut out, "sessionId", &event.origin.session_id);
    if let Some(username) = encode::username(event) {
        parameter(&mut out, "username", username);
    }
    parameter(&mut out, "type", &event.what.name());
    parameter(&mut out, "sequence", &item.sequence.to_string());
    out.extend_from_slice(b"] ");
    out
}

/// RFC 3339 with microseconds: more is not allowed (RFC 5424 section 6.2.3).
fn timestamp(at: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(at)).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.6}")
}

/// Printable ASCII without blanks, or nothing.
fn hostname(pod: &str) -> &str {
    let fits =
        !pod.is_empty() && pod.len() <= MAX_HOSTNAME && pod.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    if fits { pod } else { "-" }
}

/// A parameter of the structured data (RFC 5424 section 6.3.3). What would steer a terminal or forge a line is escaped.
fn parameter(out: &mut Vec<u8>, name: &str, value: &str) {
    let _infallible = write!(out, " {name}=\"");
    for character in clean::text(start(value, MAX_USERNAME), MAX_USERNAME).chars() {
        if matches!(character, '"' | '\\' | ']') {
            out.push(b'\\');
        }
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out.push(b'"');
}
