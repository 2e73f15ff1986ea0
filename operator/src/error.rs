//! Why a reconcile could not finish.
//!
//! Three kinds of trouble meet in a reconcile, and only one of them is an [`Error`]:
//! - what the user wrote is wrong (a missing Secret, a rejected pod template): that is a *finding*, becomes a
//!   condition on the object, and is no error of ours;
//! - another object stands where ours should ([`Error::Foreign`]): also the user's to mend, but found only while
//!   applying, so it travels as an error and becomes a condition at the top;
//! - the cluster did not answer, or answered with trouble of its own: retried with backoff.
//!
//! Every variant has a stable [`Error::reason`], used as a metric label and as a condition reason.

use std::time::Duration;

/// One failed reconcile.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what}: {}", describe(.source))]
    Api { what: String, source: Box<kube::Error> },

    #[error("{what}: no answer within {after:?}")]
    Timeout { what: String, after: Duration },

    /// An object of that name exists, and somebody else made it. Taking it over could break theirs.
    #[error(
        "{kind} {namespace}/{name} already exists and does not belong to this gateway; rename the SSHGateway, or delete that {kind} if nothing needs it"
    )]
    Foreign { kind: String, namespace: String, name: String },

    /// A child of an earlier object of the same name is still on its way out.
    #[error("{kind} {namespace}/{name} of an earlier object is still being deleted")]
    Leaving { kind: String, namespace: String, name: String },

    /// The watch of namespaces lags behind that of gateways; without a namespace's labels nobody knows its policies.
    #[error("namespace {name} has not been seen yet")]
    NamespaceUnseen { name: String },

    #[error("cannot write {what} as JSON or YAML: {source}")]
    Render { what: &'static str, source: Box<dyn std::error::Error + Send + Sync> },

    #[error("cannot generate a host key: {0}")]
    HostKey(String),

    #[error("reconcile panicked; this is a bug in the operator")]
    Panicked,
}

impl Error {
    pub fn api(what: impl Into<String>, source: kube::Error) -> Self {
        Self::Api { what: what.into(), source: Box::new(source) }
    }

    pub fn render(what: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Render { what, source: Box::new(source) }
    }

    /// A short PascalCase word, stable across releases.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Api { .. } => "ApiServerError",
            Self::Timeout { .. } => "ApiServerTimeout",
            Self::Foreign { .. } => "NameTaken",
            Self::Leaving { .. } => "StillDeleting",
            Self::NamespaceUnseen { .. } => "NamespaceUnseen",
            Self::Render { .. } => "RenderFailed",
            Self::HostKey(_) => "HostKeyGenerationFailed",
            Self::Panicked => "Panicked",
        }
    }

    /// True when trying again cannot help until a person acts.
    pub const fn needs_a_person(&self) -> bool {
        matches!(self, Self::Foreign { .. })
    }

    /// True when the apiserver does not know the kind of object, as opposed to the object or its namespace.
    pub fn is_unknown_kind(&self) -> bool {
        self.status_code() == Some(404) && self.to_string().contains("could not find the requested resource")
    }

    /// The apiserver's status code, when it answered at all.
    pub fn status_code(&self) -> Option<u16> {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            _ => None,
        }
    }
}

/// One line for people: kube's own Display repeats the whole Status structure.
pub fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("the apiserver answered {} {}", status.code, status.reason),
        other => chain(other),
    }
}

/// An error with its causes: "ServiceError: client error (Connect)" says little without its end.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Awaits `future`, but never longer than `limit`; every call that leaves this process goes through here.
pub async fn within<T>(
    limit: Duration,
    what: impl Fn() -> String,
    future: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(Error::api(what(), source)),
        Err(_elapsed) => Err(Error::Timeout { what: what(), after: limit }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_apiserver_becomes_a_timeout_that_names_the_call() {
        let error = within(
            Duration::from_secs(10),
            || "get Secret a/b".into(),
            std::future::pending::<Result<(), _>>(),
        )
        .await
        .unwrap_err();
        assert_eq!(error.to_string(), "get Secret a/b: no answer within 10s");
        assert_eq!(error.reason(), "ApiServerTimeout");
    }

    #[test]
    fn an_answer_of_the_apiserver_is_shown_once_and_in_its_own_words() {
        let status = kube::core::Status::failure("pods is forbidden", "Forbidden").with_code(403);
        let error = Error::api("create Pod a/b", kube::Error::Api(Box::new(status)));
        assert_eq!(error.to_string(), "create Pod a/b: pods is forbidden");
        assert_eq!(error.status_code(), Some(403));
    }

    #[test]
    fn a_missing_kind_is_told_from_a_missing_namespace() {
        let answer = |message: &str| {
            let status = kube::core::Status::failure(message, "NotFound").with_code(404);
            Error::api("apply TCPRoute a/b", kube::Error::Api(Box::new(status)))
        };
        assert!(answer("the server could not find the requested resource").is_unknown_kind());
        assert!(!answer("namespaces \"a\" not found").is_unknown_kind());
    }
}
