//! `auth.authenticationMethods`: which methods have to succeed, and in which order.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::value::keyword::keyword_enum;

keyword_enum! {
    /// Ways to authenticate, by their names in the protocol (RFC 4252, RFC 4256).
    pub enum AuthenticationMethod {
        /// A key or a certificate whose possession is proven.
        PublicKey = "publickey",
        /// A password.
        Password = "password",
        /// Questions and answers.
        KeyboardInteractive = "keyboard-interactive",
    }
}

/// Methods with commas between, such as `publickey,keyboard-interactive`: each has to succeed, in this order, as in sshd's
/// `AuthenticationMethods`.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct MethodList(Vec<AuthenticationMethod>);

impl MethodList {
    /// The methods in their order; at least one, none of them twice.
    #[must_use]
    pub fn methods(&self) -> &[AuthenticationMethod] {
        &self.0
    }
}

impl FromStr for MethodList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut methods = Vec::new();
        for word in text.split(',') {
            let method: AuthenticationMethod = word.trim().parse()?;
            if methods.contains(&method) {
                return Err(format!("names \"{method}\" twice"));
            }
            methods.push(method);
        }
        Ok(Self(methods))
    }
}

impl fmt::Display for MethodList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.0.iter().map(|method| method.as_str()).collect();
        f.write_str(&words.join(","))
    }
}

impl Serialize for MethodList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MethodList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
