//! Times as people read them.

use jiff::Timestamp;

/// RFC 3339 in UTC with microseconds; the number itself if it is no time that has a name.
pub(crate) fn text(timestamp: u64) -> String {
    match Timestamp::from_nanosecond(i128::from(timestamp)) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => format!("{timestamp} ns"),
    }
}
