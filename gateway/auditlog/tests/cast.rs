//! Casts of sessions that ContainerSSH recorded, against files that were looked at in a player.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; clippy.toml exempts test functions, not their helpers"
)]

mod common;

use common::{messages, vector, vector_path};
use containerssh_auditlog::asciicast::{Cast, Survey, Version};

fn cast(log: &str, version: Version, with_input: bool) -> String {
    let messages = messages(&vector(log));
    let mut survey = Survey::default();
    messages.iter().for_each(|message| survey.push(message));
    let (channel, _) = survey.channels().first_key_value().unwrap();
    let mut out = Vec::new();
    let mut cast = Cast::new(*channel, with_input).with_version(version);
    messages.iter().for_each(|message| cast.push(message, &mut out));
    cast.finish(&mut out);
    String::from_utf8(out).unwrap()
}

/// `UPDATE_VECTORS=1` writes the files anew; look at them with `asciinema play` then.
#[test]
fn recorded_sessions_become_the_casts_that_players_showed_right() {
    for (log, version, with_input, name) in [
        ("v1-shell", Version::V2, false, "v1-shell.v2"),
        ("v1-shell", Version::V3, false, "v1-shell.v3"),
        ("v2-pty-shell", Version::V2, false, "v2-pty-shell.v2"),
        ("v2-pty-shell", Version::V2, true, "v2-pty-shell.with-input.v2"),
        ("v2-pty-shell", Version::V3, true, "v2-pty-shell.with-input.v3"),
        ("v2-exec", Version::V2, false, "v2-exec.v2"),
        ("v2-exec", Version::V3, false, "v2-exec.v3"),
    ] {
        let (path, cast) = (vector_path(name, "cast"), cast(log, version, with_input));
        if std::env::var_os("UPDATE_VECTORS").is_some() {
            std::fs::write(&path, &cast).unwrap();
        }
        assert_eq!(cast, std::fs::read_to_string(&path).unwrap(), "{name}");
    }
}
