//! Logging in at an OpenID Connect provider or at GitHub, in a browser beside the terminal (keyboard-interactive, RFC 4256).
//!
//! ```text
//! provider   what the provider is asked, bounded in size and time: discovery, tokens, who the user is
//! token      whether an ID token is what it claims to be: pure
//! device     the device flow (RFC 8628): the user enters a short code in the browser
//! code       the authorization code flow (RFC 6749, RFC 7636): the user brings a code back
//! github     what GitHub has instead of an ID token
//! page       where the browser comes back to; keeps nothing
//! ```
//!
//! **A provider is believed only what it has signed, for this gateway, for this login, now.** What the token does not say is
//! taken from the userinfo endpoint, if that speaks of the same subject. Whatever does not fit denies.

mod code;
mod device;
mod github;
mod page;
mod provider;
mod token;

use std::sync::Arc;

use containerssh_config::OAuth2 as Settings;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

use crate::{Attempt, AuthConfigError, Dialogue};
use provider::Provider;

pub use page::page;

/// Longest address that is put into a QR code: beyond, it would not fit a terminal.
const MAX_QR: usize = 300;

/// An identity provider.
#[derive(Debug)]
pub struct OAuth2 {
    provider: Arc<Provider>,
    settings: Settings,
}

impl OAuth2 {
    /// Makes the client. Nothing is asked before somebody logs in: a provider that is away is no reason not to start.
    ///
    /// # Errors
    /// When the URL, a certificate or a key is no use.
    pub fn new(settings: &Settings) -> Result<Self, AuthConfigError> {
        Ok(Self { provider: Arc::new(Provider::new(settings)?), settings: settings.clone() })
    }

    /// Begins a login.
    #[must_use]
    pub fn dialogue(&self, attempt: &Attempt) -> Box<dyn Dialogue> {
        let begins = |list: &[String]| list.iter().any(|prefix| attempt.client_version.starts_with(prefix));
        let device_clients = &self.settings.device_flow_clients;
        let device = self.settings.has_device_flow()
            && (!self.settings.has_code_flow() || device_clients.is_empty() || begins(device_clients));
        let qr = begins(&self.settings.qr_code_clients);
        let provider = Arc::clone(&self.provider);
        if device {
            Box::new(device::Device::new(provider, attempt.clone(), qr))
        } else {
            Box::new(code::Code::new(provider, attempt.clone(), qr))
        }
    }
}

/// An address as a picture for a camera; empty where it would not fit, or is not wanted.
fn picture(address: &str, wanted: bool) -> String {
    if !wanted || address.len() > MAX_QR {
        return String::new();
    }
    // Light on dark, as most terminals are.
    QrCode::new(address)
        .map(|code| {
            code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build() + "\n\n"
        })
        .unwrap_or_default()
}

/// Text of a provider as a user may see it: no control characters, one line, not long.
fn shown(text: &str) -> String {
    containerssh_log::clean::text(text, 2000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_lines_of_blocks_for_those_who_want_it() {
        let drawn = picture("https://idp.example/device?user_code=ABCD-EFGH", true);
        assert!(drawn.lines().count() > 10 && drawn.contains('█'), "{drawn}");
        assert_eq!(picture("https://idp.example", false), "");
        assert_eq!(picture(&"x".repeat(MAX_QR + 1), true), "");
    }
}
