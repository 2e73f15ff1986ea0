//! How a subcommand ended, where it did not give up.

/// What the exit status and a remark on standard error tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is well.
    Done,
    /// The log is damaged; what could be read has been printed.
    Damaged {
        /// In how many places.
        places: u64,
    },
    /// What was looked for is not there.
    NotFound,
    /// Something could not be read, as has been said.
    Trouble,
    /// Records are not, or not known to be, what was written, as has been said.
    NotVerified(u8),
}

impl Outcome {
    /// [`Done`](Self::Done), or [`Damaged`](Self::Damaged) if there are such places.
    pub(crate) fn of_places(places: u64) -> Self {
        if places == 0 { Self::Done } else { Self::Damaged { places } }
    }

    /// The process's exit status.
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NotFound => 1,
            Self::Damaged { .. } | Self::Trouble => 2,
            Self::NotVerified(status) => status,
        }
    }

    /// What to say on standard error.
    pub(crate) fn remark(self) -> Option<String> {
        match self {
            Self::Done | Self::NotFound | Self::Trouble | Self::NotVerified(_) => None,
            Self::Damaged { places } => {
                let places = if places == 1 { "1 place".to_owned() } else { format!("{places} places") };
                Some(format!("the log is damaged in {places}; what could be read has been printed"))
            }
        }
    }
}
