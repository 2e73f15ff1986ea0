//! `security`: what clients may do. This version has the defaults of ContainerSSH and no filters yet: every key that
//! would change them is refused rather than ignored.

use serde::{Deserialize, Serialize};

use crate::value::keyword::keyword_enum;

keyword_enum! {
    /// `security.defaultMode`
    #[derive(Default)]
    pub enum SecurityMode {
        /// As `enable`.
        #[default]
        Unset = "",
        /// Everything is allowed that has no rule of its own.
        Enable = "enable",
    }
    refused {
        "filter" => "is not supported by this version",
        "disable" => "is not supported by this version",
    }
}

keyword_enum! {
    /// Whether a kind of forwarding is allowed.
    #[derive(Default)]
    pub enum ForwardingMode {
        /// It is not.
        #[default]
        Disable = "disable",
    }
    refused {
        "" => "would be read as \"disable\": say so",
        "filter" => "is not supported by this version: there is no forwarding yet",
        "enable" => "is not supported by this version: there is no forwarding yet",
    }
}

/// `security`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Security {
    /// What holds where nothing else is said.
    pub default_mode: SecurityMode,
    /// Port, socket and X11 forwarding.
    pub forwarding: Forwarding,
}

/// `security.forwarding`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Forwarding {
    /// `ssh -R`
    pub reverse_forwarding_mode: ForwardingMode,
    /// `ssh -L`
    pub forwarding_mode: ForwardingMode,
    /// `ssh -L` to a Unix socket.
    pub socket_forwarding_mode: ForwardingMode,
    /// `ssh -R` from a Unix socket.
    pub socket_listen_mode: ForwardingMode,
    /// `ssh -X`
    #[serde(rename = "x11ForwardingMode")]
    pub x11_forwarding_mode: ForwardingMode,
}
