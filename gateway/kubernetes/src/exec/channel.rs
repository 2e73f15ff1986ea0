//! Channels of the Kubernetes remote command protocol, version 5 (`v5.channel.k8s.io`): the first byte of each binary
//! message.
//!
//! Source: `k8s.io/apimachinery/pkg/util/remotecommand/constants.go` and
//! `k8s.io/apimachinery/pkg/util/httpstream/wsstream/conn.go`.

/// Towards the program's standard input.
pub(crate) const STDIN: u8 = 0;
/// From the program's standard output, or its terminal.
pub(crate) const STDOUT: u8 = 1;
/// From the program's standard error.
pub(crate) const STDERR: u8 = 2;
/// A `metav1.Status` as JSON that says how the program ended.
pub(crate) const STATUS: u8 = 3;
/// Towards the program's terminal: its size as JSON.
pub(crate) const RESIZE: u8 = 4;
/// Closes the channel that its second byte names. New in version 5, and the reason to insist on it: version 4 cannot end
/// a program's input without losing the rest of its output.
pub(crate) const CLOSE: u8 = 255;

/// The payload on [`RESIZE`]: Go's `remotecommand.TerminalSize`, two `uint16`. Larger sizes are cut to the largest.
pub(crate) fn resize(columns: u32, rows: u32) -> String {
    let cut = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    format!("{{\"Width\":{},\"Height\":{}}}", cut(columns), cut(rows))
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_beyond_sixteen_bits_are_cut_because_the_peer_would_drop_them() {
        assert_eq!(super::resize(80, 24), r#"{"Width":80,"Height":24}"#);
        assert_eq!(super::resize(u32::MAX, 65_536), r#"{"Width":65535,"Height":65535}"#);
    }
}
