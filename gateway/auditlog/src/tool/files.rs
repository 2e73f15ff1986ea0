//! Where the log comes from and where the result goes.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::decode::Decoder;

use super::ToolError;

/// Bytes read or written at a time.
const BUFFER: usize = 64 << 10;

/// A reader of either kind of input.
pub(super) type Reader = Box<dyn BufRead>;

/// A log that has been opened.
#[derive(Debug)]
pub(super) enum Input {
    /// Can be read once.
    Stream { name: String, file: Stream },
    /// Can be read from the start as often as needed.
    File { name: String, file: File },
}

#[derive(Debug)]
pub(super) enum Stream {
    Stdin,
    /// A pipe or device.
    Other(File),
    Used,
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self, ToolError> {
        if path == Path::new("-") {
            return Ok(Self::Stream { name: "standard input".to_owned(), file: Stream::Stdin });
        }
        let name = path.display().to_string();
        let open = || {
            let file = File::open(path)?;
            let kind = file.metadata()?.file_type();
            if kind.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok((file, kind.is_file())) }
        };
        match open() {
            Ok((file, true)) => Ok(Self::File { name, file }),
            Ok((file, false)) => Ok(Self::Stream { name, file: Stream::Other(file) }),
            Err(error) => Err(ToolError::Open { name, error }),
        }
    }

    /// The same log, readable more than once: what comes from a stream is kept in an unnamed temporary file.
    pub(super) fn seekable(self) -> Result<Self, ToolError> {
        match self {
            Self::Stream { name, mut file } => {
                let copy = |from: &mut dyn Read| -> io::Result<File> {
                    let mut kept = tempfile::tempfile()?;
                    io::copy(from, &mut kept)?;
                    Ok(kept)
                };
                let file = copy(&mut file.take()).map_err(ToolError::Spool)?;
                Ok(Self::File { name, file })
            }
            file @ Self::File { .. } => Ok(file),
        }
    }

    /// Reads the log from its start.
    pub(super) fn decoder(&mut self) -> Result<Decoder<Reader>, ToolError> {
        let (name, reader): (_, Reader) = match self {
            Self::Stream { name, file } => (name, file.take()),
            Self::File { name, file } => {
                let rewound = || {
                    let mut file = file.try_clone()?;
                    file.rewind()?;
                    Ok(file)
                };
                let file = rewound().map_err(|error| ToolError::Open { name: name.clone(), error })?;
                (name, Box::new(BufReader::with_capacity(BUFFER, file)))
            }
        };
        Decoder::new(reader).map_err(|error| ToolError::Log { name: name.clone(), error })
    }
}

impl Stream {
    fn take(&mut self) -> Reader {
        match std::mem::replace(self, Self::Used) {
            Self::Stdin => Box::new(BufReader::with_capacity(BUFFER, io::stdin())),
            Self::Other(file) => Box::new(BufReader::with_capacity(BUFFER, file)),
            Self::Used => Box::new(io::empty()),
        }
    }
}

/// Where the result goes.
pub(super) struct Output {
    name: String,
    writer: BufWriter<Box<dyn Write>>,
}

impl Output {
    /// Opens the output, which must not be the log that is being read: that would destroy it.
    pub(super) fn create(path: Option<&Path>, input: &Path) -> Result<Self, ToolError> {
        let path = path.filter(|path| *path != Path::new("-"));
        let (name, writer): (_, Box<dyn Write>) = match path {
            None => ("standard output".to_owned(), Box::new(io::stdout())),
            Some(path) => {
                let name = path.display().to_string();
                if is_same_file(path, input) {
                    return Err(ToolError::OutputIsInput(name));
                }
                match File::create(path) {
                    Ok(file) => (name, Box::new(file)),
                    Err(error) => return Err(ToolError::Write { name, error }),
                }
            }
        };
        Ok(Self { name, writer: BufWriter::with_capacity(BUFFER, writer) })
    }

    pub(super) fn write(&mut self, data: &[u8]) -> Result<(), ToolError> {
        self.writer.write_all(data).map_err(|error| ToolError::Write { name: self.name.clone(), error })
    }

    pub(super) fn flush(&mut self) -> Result<(), ToolError> {
        self.writer.flush().map_err(|error| ToolError::Write { name: self.name.clone(), error })
    }
}

fn is_same_file(a: &Path, b: &Path) -> bool {
    let identity = |path| fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    matches!((identity(a), identity(b)), (Some(a), Some(b)) if a == b)
}
