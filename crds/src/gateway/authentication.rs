//! Who may log in.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{CertificateAuthorities, OpenIDConnect, RevokedKeysSource};
use crate::{KeyRef, NameRef, Span, schema};

/// Methods of authentication.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.password) || has(self.publicKey) || has(self.keyboardInteractive)")
    .message("set password, publicKey or keyboardInteractive: nobody could log in otherwise")
    .reason(Reason::FieldValueRequired))]
#[x_kube(validation = Rule::new("!has(self.require) || self.require.all(list, list.all(m, (m == 'password' && has(self.password)) || (m == 'publicKey' && has(self.publicKey)) || (m == 'keyboardInteractive' && has(self.keyboardInteractive))))")
    .message("require names a method that is not set beside it: nobody could go through that list"))]
pub struct Authentication {
    /// Users log in with a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordAuthentication>,

    /// Users log in with a key or a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<PublicKeyAuthentication>,

    /// Users log in at an identity provider, in a browser beside the terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyboard_interactive: Option<KeyboardInteractiveAuthentication>,

    /// A last word about everybody who has logged in by one of the methods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,

    /// Lists of methods, such as [[publicKey, keyboardInteractive]]: one of the lists has to be gone through to
    /// its end, in its order, by one and the same user. Default: any one method is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::method_lists")]
    pub require: Vec<Vec<AuthenticationMethod>>,
}

/// A method of authentication, by its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AuthenticationMethod {
    /// `password`
    Password,
    /// `publicKey`
    PublicKey,
    /// `keyboardInteractive`
    KeyboardInteractive,
}

/// Authentication by questions and answers.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyboardInteractiveAuthentication {
    /// An OpenID Connect provider.
    pub oidc: OpenIDConnect,
}

/// Who decides about users that are authenticated.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorization {
    /// ContainerSSH's authorization webhook, which is asked with <url>/authz.
    pub webhook: Webhook,
}

/// Authentication by password.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PasswordAuthentication {
    /// ContainerSSH's authentication webhook, which is asked with <url>/password.
    pub webhook: Webhook,
}

/// Authentication by public key.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.webhook) || has(self.authorizedKeysFrom) || has(self.certificateAuthorities)")
    .message("set webhook, authorizedKeysFrom or certificateAuthorities: no key would be accepted otherwise")
    .reason(Reason::FieldValueRequired))]
pub struct PublicKeyAuthentication {
    /// ContainerSSH's authentication webhook, which is asked with <url>/pubkey for keys that
    /// authorizedKeysFrom does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,

    /// Secrets and ConfigMaps in the gateway's namespace that hold authorized keys: each data key is a user
    /// name, its value lines as in OpenSSH's authorized_keys. A change counts from the next login on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub authorized_keys_from: Vec<AuthorizedKeysSource>,

    /// Who may sign OpenSSH user certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authorities: Option<CertificateAuthorities>,

    /// Keys and certificates that let nobody in any more, whoever lists or signs them: key revocation lists
    /// (ssh-keygen -k), or a public key per line. One that cannot be read lets no key in. A change counts from
    /// the next login on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub revoked_keys_from: Vec<RevokedKeysSource>,
}

/// A Secret or a ConfigMap with a data key for each user.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretRef) != has(self.configMapRef)")
    .message("set exactly one of secretRef and configMapRef"))]
pub struct AuthorizedKeysSource {
    /// A Secret in the gateway's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<NameRef>,

    /// A ConfigMap in the gateway's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<NameRef>,
}

/// An HTTP server that decides.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!(has(self.caSecretRef) && has(self.caConfigMapRef))")
    .message("set at most one of caSecretRef and caConfigMapRef"))]
#[x_kube(validation = Rule::new("self.url.startsWith('https://') || !(has(self.caSecretRef) || has(self.caConfigMapRef) || has(self.clientCertificateSecretRef))")
    .message("certificates need a url that begins with https://"))]
pub struct Webhook {
    /// Address of the server, such as https://auth.example.com/ssh. Plain http sends passwords in the clear:
    /// use it within a trusted network only.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[^\s/?#]+(/[^\s?#]*)?$"))]
    pub url: String,

    /// How long one decision may take, retries included. Default: 60s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) > duration('0s')").message("must be longer than 0s"))]
    pub timeout: Option<Span>,

    /// Secret in the gateway's namespace with the certificates (PEM) of the authorities that may vouch for
    /// the server. Default: those of the gateway's image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<KeyRef>,

    /// ConfigMap in the gateway's namespace with the certificates (PEM) of the authorities that may vouch
    /// for the server. Default: those of the gateway's image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_config_map_ref: Option<KeyRef>,

    /// Secret of type kubernetes.io/tls in the gateway's namespace that the gateway shows to the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_secret_ref: Option<NameRef>,
}
