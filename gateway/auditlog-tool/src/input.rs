//! Where a log comes from.
//!
//! The one way for every subcommand: a path, `s3://bucket/key`, or `-` for standard input. Logs are read as streams; what has to be
//! read twice and cannot be rewound is kept in an unnamed temporary file.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use containerssh_auditlog::Decoder;
use containerssh_auditlog::encrypted::Identities;

use crate::error::ToolError;
use crate::identity::{self, IdentityArgs};
use crate::progress::{Meter, Progress};
use crate::store::{self, ObjectReader, Store, StoreArgs};

/// Bytes read at a time.
const BUFFER: usize = 64 << 10;

/// A reader of any kind of input.
pub(crate) type Reader = Box<dyn BufRead>;

/// The options that say how logs are reached and opened; every subcommand that reads logs has them.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct SourceArgs {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Made for the first log that lies in a store, and used for all of them.
    #[arg(skip)]
    opened: Arc<OnceLock<Arc<Store>>>,
}

impl SourceArgs {
    /// Whether encrypted logs can be read.
    pub(crate) fn has_identity(&self) -> bool {
        self.identity.is_given()
    }

    /// The store that these options name.
    fn store(&self) -> Result<Arc<Store>, ToolError> {
        if let Some(store) = self.opened.get() {
            return Ok(store.clone());
        }
        let store = Arc::new(Store::open(&self.store)?);
        Ok(self.opened.get_or_init(|| store).clone())
    }
}

/// A log that has been opened.
#[derive(Debug)]
pub(crate) struct Input {
    name: String,
    origin: Origin,
    meter: Meter,
    /// Read it where it is encrypted.
    identities: Arc<Identities>,
}

#[derive(Debug)]
enum Origin {
    Stdin,
    /// A pipe or device: can be read once.
    Stream(File),
    /// An object in a store: is read as it comes, once.
    Object(Box<ObjectReader>),
    /// Can be read from the start as often as needed.
    File(File),
    /// A stream that has been read.
    Used,
}

impl Input {
    /// Opens what the user named.
    ///
    /// # Errors
    /// If it cannot be opened, or is a directory.
    pub(crate) fn open(spec: &OsStr, source: &SourceArgs) -> Result<Self, ToolError> {
        let identities = source.identity.identities()?;
        if spec == "-" {
            return Ok(Self {
                name: "standard input".to_owned(),
                origin: Origin::Stdin,
                meter: Meter::default(),
                identities,
            });
        }
        let name = Path::new(spec).display().to_string();
        if store::is_location(spec) {
            let origin = Origin::Object(Box::new(ObjectReader::of_location(source.store()?, &name)?));
            return Ok(Self { name, origin, meter: Meter::default(), identities: identities.clone() });
        }
        let open = || {
            let file = File::open(spec)?;
            let kind = file.metadata()?.file_type();
            if kind.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok((file, kind.is_file())) }
        };
        match open() {
            Ok((file, true)) => Ok(Self {
                name,
                origin: Origin::File(file),
                meter: Meter::default(),
                identities: identities.clone(),
            }),
            Ok((file, false)) => Ok(Self {
                name,
                origin: Origin::Stream(file),
                meter: Meter::default(),
                identities: identities.clone(),
            }),
            Err(error) => Err(ToolError::Open { name, error }),
        }
    }

    /// The name for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Shows on this bar how far the log has been read.
    pub(crate) fn watch(&mut self, progress: &Progress) {
        self.meter = progress.meter();
    }

    /// The same log, readable more than once.
    pub(crate) fn seekable(mut self) -> Result<Self, ToolError> {
        let kept = match self.origin.take() {
            file @ Origin::File(_) => file,
            stream => {
                let copy = |mut from: Reader| -> io::Result<File> {
                    let mut kept = tempfile::tempfile()?;
                    io::copy(&mut from, &mut kept)?;
                    Ok(kept)
                };
                let reader = stream.into_reader().and_then(copy).map_err(ToolError::Spool)?;
                Origin::File(reader)
            }
        };
        self.origin = kept;
        Ok(self)
    }

    /// Reads the log's bytes from its start, decrypted where they are encrypted.
    pub(crate) fn reader(&mut self) -> Result<Reader, ToolError> {
        let reader = self.stored()?;
        identity::decrypt(reader, &self.name, &self.identities)
    }

    /// Reads the bytes from the start as they are stored.
    pub(crate) fn stored(&mut self) -> Result<Reader, ToolError> {
        let mut open = || match &self.origin {
            Origin::File(file) => Origin::File(file.try_clone()?).into_reader(),
            _ => self.origin.take().into_reader(),
        };
        let reader = open().map_err(|error| ToolError::Open { name: self.name.clone(), error })?;
        Ok(self.meter.reader(reader))
    }

    /// Reads the log's records from its start.
    pub(crate) fn decoder(&mut self) -> Result<Decoder<Reader>, ToolError> {
        let reader = self.reader()?;
        Decoder::new(reader).map_err(|error| ToolError::Log { name: self.name.clone(), error })
    }
}

impl Origin {
    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Used)
    }

    fn into_reader(self) -> io::Result<Reader> {
        let buffered = |from: Box<dyn Read>| Box::new(BufReader::with_capacity(BUFFER, from));
        Ok(match self {
            Self::Stdin => buffered(Box::new(io::stdin())),
            Self::Stream(file) => buffered(Box::new(file)),
            Self::Object(object) => buffered(object),
            Self::File(mut file) => {
                file.rewind()?;
                buffered(Box::new(file))
            }
            Self::Used => Box::new(io::empty()),
        })
    }
}
