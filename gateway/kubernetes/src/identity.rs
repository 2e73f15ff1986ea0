//! Who this gateway is, for the labels of its pods and for the sweep that finds what a dead gateway left behind.

/// The gateway's own place in the cluster, from the downward API; parts of it are unknown outside a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name of the gateway: the same for all its replicas (`GATEWAY_NAME`).
    pub gateway: String,
    /// Namespace of the gateway's pod (`POD_NAMESPACE`); qualifies the gateway's name.
    pub namespace: String,
    /// The pod that this process runs in, if it does.
    pub pod: Option<PodIdentity>,
    /// This process: differs after each restart, also within the same pod.
    pub run: RunId,
}

/// A pod for certain: names are used again, unique ids are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodIdentity {
    /// `metadata.name` (`POD_NAME`).
    pub name: String,
    /// `metadata.uid` (`POD_UID`).
    pub uid: String,
}

/// 16 hexadecimal digits that tell one run of the gateway from all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunId(String);

impl RunId {
    /// A new one.
    #[must_use]
    pub fn random() -> Self {
        Self(format!("{:016x}", rand::random::<u64>()))
    }

    /// As text, fit for a label.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn fixed(text: &str) -> Self {
        Self(text.to_owned())
    }
}
