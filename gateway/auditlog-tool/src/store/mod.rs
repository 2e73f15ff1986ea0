//! Records in an S3-compatible store: listing them, fetching them, and reading them without fetching.
//!
//! - [`location`]: `s3://bucket/prefix`, with the placeholders of the gateway's `audit.s3.prefix`. [`object`]: one listed
//!   object and what is known of it.
//! - [`client`]: the few requests, for callers that block. [`reader`]: an object as a stream that mends itself.
//! - [`ls`], [`fetch`]: the subcommands.
//!
//! The rest of the program blocks; a current-thread runtime lives inside [`client`] and nowhere else.

mod client;
mod fetch;
mod location;
mod ls;
mod object;
mod reader;

pub(crate) use client::{Store, StoreArgs, StoreError};
pub(crate) use fetch::{FetchArgs, run as fetch};
pub(crate) use location::is_location;
pub(crate) use ls::{LsArgs, run as ls};
pub(crate) use reader::ObjectReader;
