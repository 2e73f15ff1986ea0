//! Where records go: one S3 bucket, or anything that speaks its protocol.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::NameRef;

/// Where records go.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// An S3 bucket, or one of a service with the same protocol.
    pub s3: S3Storage,
}

/// An S3 bucket.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Storage {
    /// Name of the bucket. It must exist.
    #[schemars(length(min = 3, max = 63), regex(pattern = r"^[a-z0-9][-a-z0-9._]*[a-z0-9]$"))]
    pub bucket: String,

    /// Region of the bucket, such as us-east-1.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[-a-zA-Z0-9]+$"))]
    pub region: String,

    /// Address of a service other than AWS, such as https://minio.storage:9000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s/?#]+(/[^\s?#]*)?$"))]
    pub endpoint: Option<String>,

    /// What object keys begin with. {year}, {month}, {day}, {namespace}, {gateway} and {username} are
    /// replaced; the connection's id follows. Default: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 512),
        regex(
            pattern = r"^([^{}/\s]|\{(year|month|day|namespace|gateway|username)\})([^{}\s]|\{(year|month|day|namespace|gateway|username)\})*$"
        )
    )]
    pub prefix: Option<String>,

    /// Whether the bucket's name goes into the path of the address and not into its host name, as MinIO and
    /// most other services want it. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_style_access: Option<bool>,

    /// Certificates (PEM) of the authorities that may vouch for the endpoint. Default: those of the
    /// gateway's image.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 131_072), regex(pattern = "-----BEGIN CERTIFICATE-----"))]
    pub ca_bundle: Option<String>,

    /// Access control list of the objects. Default: none is sent, the bucket decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acl: Option<CannedAcl>,

    /// How the store encrypts the objects. Default: as the bucket says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_side_encryption: Option<ServerSideEncryption>,

    /// What the gateway authenticates itself with. Default: type WorkloadIdentity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<S3Credentials>,
}

impl S3Storage {
    /// The Secret with static keys, if there is one.
    #[must_use]
    pub fn secret(&self) -> Option<&NameRef> {
        let credentials = self.credentials.as_ref()?;
        match credentials.type_ {
            CredentialsType::Secret => credentials.secret_ref.as_ref(),
            CredentialsType::WorkloadIdentity => None,
        }
    }
}

choice! {
    /// Access control lists that make sense for an audit record: never public.
    pub enum CannedAcl {
        /// Only the owner of the object.
        Private,
        /// The bucket's owner may read.
        BucketOwnerRead,
        /// The bucket's owner may do anything.
        BucketOwnerFullControl,
    }
}

impl CannedAcl {
    /// The value of the header `x-amz-acl`.
    #[must_use]
    pub const fn as_header(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::BucketOwnerRead => "bucket-owner-read",
            Self::BucketOwnerFullControl => "bucket-owner-full-control",
        }
    }
}

/// How the store encrypts objects.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.kmsKeyId) || self.type == 'KMS'")
    .message("kmsKeyId goes with type: KMS only").reason(Reason::FieldValueForbidden))]
pub struct ServerSideEncryption {
    /// None: as the bucket says. AES256: with keys of the store. KMS: with a key of the key management
    /// service.
    #[serde(rename = "type")]
    pub type_: EncryptionType,

    /// Id, ARN or alias of the key. Default: the account's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = "^[!-~]+$"))]
    pub kms_key_id: Option<String>,
}

choice! {
    /// Whose keys encrypt.
    pub enum EncryptionType {
        /// As the bucket says.
        None,
        /// Those of the store.
        AES256,
        /// Those of the key management service.
        KMS,
    }
}

/// What the gateway authenticates itself with.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.type != 'Secret' || has(self.secretRef)")
    .message("type: Secret needs secretRef").reason(Reason::FieldValueRequired))]
#[x_kube(validation = Rule::new("self.type == 'Secret' || !has(self.secretRef)")
    .message("secretRef goes with type: Secret only").reason(Reason::FieldValueForbidden))]
pub struct S3Credentials {
    /// WorkloadIdentity: whatever the platform gives the gateway's service account (IRSA, EKS Pod Identity,
    /// instance roles). Secret: static keys from secretRef. Give either the right to put objects and to
    /// abort uploads, no more.
    #[serde(rename = "type")]
    pub type_: CredentialsType,

    /// Secret with the data keys accessKey and secretKey: in the operator's namespace for an AuditPolicy, in
    /// the gateway's own for an SSHGateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<NameRef>,
}

choice! {
    /// Kind of credentials.
    pub enum CredentialsType {
        /// What the platform gives the pod.
        WorkloadIdentity,
        /// Static keys.
        Secret,
    }
}
