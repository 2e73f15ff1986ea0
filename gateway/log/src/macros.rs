//! Levels that `tracing` does not have: an event of the nearest level it has, marked by a `severity` field.

/// Logs at level `notice`: an ordinary event that an administrator wants to see.
#[macro_export]
macro_rules! notice {
    (target: $target:expr, $($arguments:tt)+) => {
        $crate::__tracing::info!(target: $target, severity = "notice", $($arguments)+)
    };
    ($($arguments:tt)+) => { $crate::__tracing::info!(severity = "notice", $($arguments)+) };
}

/// Logs at level `crit`: the program cannot do its work.
#[macro_export]
macro_rules! crit {
    (target: $target:expr, $($arguments:tt)+) => {
        $crate::__tracing::error!(target: $target, severity = "crit", $($arguments)+)
    };
    ($($arguments:tt)+) => { $crate::__tracing::error!(severity = "crit", $($arguments)+) };
}

/// Logs at level `alert`: somebody has to act at once.
#[macro_export]
macro_rules! alert {
    (target: $target:expr, $($arguments:tt)+) => {
        $crate::__tracing::error!(target: $target, severity = "alert", $($arguments)+)
    };
    ($($arguments:tt)+) => { $crate::__tracing::error!(severity = "alert", $($arguments)+) };
}

/// Logs at level `emerg`: the program is unusable.
#[macro_export]
macro_rules! emerg {
    (target: $target:expr, $($arguments:tt)+) => {
        $crate::__tracing::error!(target: $target, severity = "emerg", $($arguments)+)
    };
    ($($arguments:tt)+) => { $crate::__tracing::error!(severity = "emerg", $($arguments)+) };
}
