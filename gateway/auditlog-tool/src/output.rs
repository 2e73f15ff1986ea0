//! Where the result goes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::ToolError;

/// Bytes written at a time.
const BUFFER: usize = 64 << 10;

/// Standard output, until it is told otherwise.
pub(crate) struct Output {
    name: String,
    writer: BufWriter<Box<dyn Write>>,
}

impl Output {
    /// The process's standard output.
    pub(crate) fn stdout() -> Self {
        Self::new("standard output".to_owned(), Box::new(io::stdout()))
    }

    fn new(name: String, writer: Box<dyn Write>) -> Self {
        Self { name, writer: BufWriter::with_capacity(BUFFER, writer) }
    }

    /// Writes to this file from now on, or goes on where there is none or it is `-`. The file must not be the log that is being
    /// read: that would destroy it.
    pub(crate) fn redirect(&mut self, path: Option<&Path>, input: &OsStr) -> Result<(), ToolError> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else { return Ok(()) };
        let name = path.display().to_string();
        if is_same_file(path, Path::new(input)) {
            return Err(ToolError::OutputIsInput(name));
        }
        match File::create(path) {
            Ok(file) => *self = Self::new(name, Box::new(file)),
            Err(error) => return Err(ToolError::Write { name, error }),
        }
        Ok(())
    }

    pub(crate) fn write(&mut self, data: &[u8]) -> Result<(), ToolError> {
        self.writer.write_all(data).map_err(|error| ToolError::Write { name: self.name.clone(), error })
    }

    pub(crate) fn flush(&mut self) -> Result<(), ToolError> {
        self.writer.flush().map_err(|error| ToolError::Write { name: self.name.clone(), error })
    }
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    let identity = |path| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    matches!((identity(a), identity(b)), (Some(a), Some(b)) if a == b)
}
