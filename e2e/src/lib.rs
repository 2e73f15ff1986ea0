//! What the cluster tests and the measurements share.
//!
//! The tests speak to the product as its users do: manifests as text, applied by server-side apply; the OpenSSH client
//! as a process; S3 through its API; the audit record through the decoder. Nothing here reaches into the gateway or the
//! operator, so a test that passes says something about what a user gets.
//!
//! Every wait is for a condition, with a deadline and a description that the failure prints ([`wait::until`]).

#![allow(clippy::indexing_slicing, reason = "it is all tests; JSON that lacks a field gives null")]

pub mod bytes;
pub mod cluster;
pub mod cut;
pub mod daemon;
pub mod environment;
pub mod fixture;
pub mod gateway;
pub mod minio;
pub mod operator;
pub mod policy;
pub mod process;
pub mod program;
pub mod python;
pub mod record;
pub mod s3;
pub mod ssh;
pub mod sshd;
pub mod standalone;
pub mod tool;
pub mod wait;
pub mod webhook;

pub use cluster::{Cluster, Namespace};
pub use environment::Environment;
pub use gateway::Gateway;
pub use ssh::{Finished, Login};
