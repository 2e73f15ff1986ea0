//! One line: the two formats.

use std::collections::BTreeMap;
use std::io::Write;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::Serialize;

use crate::syslog::Header;
use crate::{Format, Level};

/// A label's value: what `tracing` can carry, cleaned.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Value {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
}

/// Labels by name, sorted, so that equal events give equal lines.
pub(crate) type Labels = BTreeMap<&'static str, Value>;

/// What a line says. The order of the fields is that of ContainerSSH's `ljson`.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) level: Option<&'static str>,
    pub(crate) code: &'a str,
    pub(crate) message: &'a str,
    pub(crate) details: &'a Labels,
}

/// RFC 3339 in UTC with microseconds: fixed width, so that lines sort as text.
pub(crate) fn timestamp(now: Timestamp) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
    PRINTER.timestamp_to_string(&now)
}

/// Renders a line with its newline. Where there is a syslog header, it has timestamp and level, and the rest leaves them out.
pub(crate) fn render(
    format: Format,
    header: Option<&Header>,
    now: Timestamp,
    level: Level,
    code: &str,
    message: &str,
    details: &Labels,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    let line = match header {
        Some(header) => {
            header.write(&mut bytes, now, level, code);
            Line { timestamp: None, level: None, code, message, details }
        }
        None => {
            let (timestamp, level) = (Some(timestamp(now)), Some(level.as_str()));
            Line { timestamp, level, code, message, details }
        }
    };
    let begin = bytes.len();
    match format {
        Format::Ljson => {
            // Writing strings, numbers and a map with text keys into memory cannot fail; a float that JSON
            // does not know becomes null.
            if serde_json::to_writer(&mut bytes, &line).is_err() {
                bytes.truncate(begin);
            }
        }
        Format::Text => text(&mut bytes, &line),
    }
    bytes.push(b'\n');
    bytes
}

fn text(bytes: &mut Vec<u8>, line: &Line<'_>) {
    // Writing into memory cannot fail.
    if let (Some(timestamp), Some(level)) = (&line.timestamp, line.level) {
        let _ = write!(bytes, "{timestamp}\t{level}\t");
    }
    let _ = write!(bytes, "{} (code={}", line.message, line.code);
    for (name, value) in line.details {
        let _ = match value {
            Value::Bool(value) => write!(bytes, " {name}={value}"),
            Value::Signed(value) => write!(bytes, " {name}={value}"),
            Value::Unsigned(value) => write!(bytes, " {name}={value}"),
            Value::Float(value) => write!(bytes, " {name}={value}"),
            // A value that could be read as the end of the label, or as another one, is quoted.
            Value::Text(value) if needs_quotes(value) => write!(bytes, " {name}={value:?}"),
            Value::Text(value) => write!(bytes, " {name}={value}"),
        };
    }
    bytes.push(b')');
}

fn needs_quotes(value: &str) -> bool {
    value.is_empty()
        || value.contains(|c: char| c.is_whitespace() || matches!(c, '=' | '"' | '(' | ')' | '\\'))
}
