//! Why a backend could not do what it was asked.

/// Every variant's text is fit to be shown to the user whose connection it concerns: it names the cause and never a
/// secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BackendError {
    /// The guest could not be started; the text names the cause, such as `ImagePullBackOff` with the image.
    #[error("{0}")]
    StartFailed(String),
    /// It did not become ready in time; the text says what it was waiting for.
    #[error("{0}")]
    StartTimeout(String),
    /// The program could not be started (no such file, no shell in the image, unknown subsystem).
    #[error("{0}")]
    ProgramFailed(String),
    /// The guest is gone (evicted, deleted, crashed).
    #[error("{0}")]
    GuestGone(String),
    /// The stream to the program broke before the program's exit status came.
    #[error("{0}")]
    StreamBroken(String),
    /// The request cannot be carried out by this backend or for this program.
    #[error("{0}")]
    Unsupported(String),
}
