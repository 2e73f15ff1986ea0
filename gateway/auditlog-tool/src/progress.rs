//! How far long work is, for who watches it: on standard error, and only where that is a terminal.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

use crate::input::Reader;

/// A bar over the bytes that are read, or nothing.
#[derive(Debug)]
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Starts for these inputs. The bar has an end only if their sizes are known: for files, not for directories and streams.
    pub(crate) fn start(specs: &[OsString]) -> Self {
        let size = |spec: &OsString| {
            Path::new(spec).metadata().ok().filter(std::fs::Metadata::is_file).map(|file| file.len())
        };
        Self::of(specs.iter().map(size).sum())
    }

    /// Starts for so many bytes.
    pub(crate) fn of_bytes(total: u64) -> Self {
        Self::of(Some(total))
    }

    fn of(total: Option<u64>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let (bar, template) = match total {
            Some(total) => {
                (ProgressBar::new(total), "{bar:40} {bytes}/{total_bytes} {binary_bytes_per_sec}, {eta} left")
            }
            None => (ProgressBar::new_spinner(), "{spinner} {bytes} {binary_bytes_per_sec}"),
        };
        // A template that does not parse would be a mistake above; then the usual style has to do.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self(Some(bar))
    }

    /// What moves the bar.
    pub(crate) fn meter(&self) -> Meter {
        Meter(self.0.clone())
    }

    /// Takes the bar away while something else is printed.
    pub(crate) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

/// Counts what is read. Without a bar it does nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Option<ProgressBar>);

impl Meter {
    /// The same reader, its bytes counted.
    pub(crate) fn reader(&self, reader: Reader) -> Reader {
        match &self.0 {
            Some(bar) => Box::new(bar.wrap_read(reader)),
            None => reader,
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
