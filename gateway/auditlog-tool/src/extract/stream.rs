//! What one stream of a channel held.

use std::ffi::OsStr;
use std::path::Path;

use containerssh_auditlog::{DecodeError, IoStream, Payload};

use super::ExtractError;
use super::budget::{Budget, Bytes};
use crate::error::ToolError;
use crate::input::Input;
use crate::outcome::Outcome;
use crate::output::Output;

pub(super) fn run(
    mut input: Input,
    log: &OsStr,
    (channel, wanted): (u64, IoStream),
    to: &Path,
    max_bytes: Bytes,
    output: &mut Output,
) -> Result<Outcome, ToolError> {
    let decoder = input.decoder()?;
    // Opened only now: a wrong input must not cost an existing output.
    output.redirect(Some(to), log)?;
    let (mut places, mut budget, mut found) = (0, Budget::new(max_bytes), false);
    for item in decoder {
        match item {
            Ok(message) => {
                if let Payload::Io { stream, data } = &message.payload
                    && (message.channel_id, *stream) == (Some(channel), wanted)
                {
                    found = true;
                    if !budget.take(data.len() as u64) {
                        output.flush()?;
                        return Err(ExtractError::TooMuch.into());
                    }
                    output.write(data)?;
                }
            }
            Err(error @ DecodeError::Io(_)) => {
                return Err(ToolError::Read { name: input.name().to_owned(), error });
            }
            Err(_) => places += 1,
        }
    }
    output.flush()?;
    if found { Ok(Outcome::of_places(places)) } else { Err(ExtractError::NotFound.into()) }
}
