//! Levels that `tracing` does not have: an event of the nearest level it has, marked by a `severity` field.

/// Logs at level `notice`: an ordinary event that an administrator wants to see.
#[macro_export]
macro_rules! notice {
    ($($arguments:tt)+) => { $crate::__tracing::info!(severity = "notice", $($arguments)+) };
}

/// Logs at level `crit`: the program cannot do its work.
#[macro_export]
macro_rules! crit {
    ($($arguments:tt)+) => { $crate::__tracing::error!(severity = "crit", $($arguments)+) };
}

/// Logs at level `alert`: somebody has to act at once.
#[macro_export]
macro_rules! alert {
    ($($arguments:tt)+) => { $crate::__tracing::error!(severity = "alert", $($arguments)+) };
}

/// Logs at level `emerg`: the program is unusable.
#[macro_export]
macro_rules! emerg {
    ($($arguments:tt)+) => { $crate::__tracing::error!(severity = "emerg", $($arguments)+) };
}
