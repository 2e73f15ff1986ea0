//! S3-compatible stores: a client from settings, and errors that a person can act on.
//!
//! The recorder writes records and the command line tool reads them; both reach a store the same way. What they then ask
//! of it is theirs.
//!
//! Credentials are given, or found by the SDK's chain: environment variables, shared files, web identity (IRSA and the
//! like: `AWS_WEB_IDENTITY_TOKEN_FILE`), a container's credential endpoint (EKS Pod Identity, ECS:
//! `AWS_CONTAINER_CREDENTIALS_FULL_URI`), the instance. The chain renews what expires.

mod client;
mod failure;
pub mod names;

pub use client::{Keys, Settings, SettingsError, client};
pub use failure::{Failure, Reason, explain};

pub use aws_sdk_s3 as sdk;
