//! The gateway as clients meet it: a real server on a real port, real SSH clients, programs that really run (as processes of
//! this machine, by a backend of the tests), and records in real files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking; clippy exempts only functions that are tests themselves"
)]

mod certificates;
mod configserver;
mod convert;
mod demo;
mod ending;
mod example;
mod forwarding;
mod hostile;
mod limits;
mod local;
mod login;
mod logs;
mod measures;
mod methods;
mod oidc;
mod openssh;
mod process;
mod protocol;
mod reloading;
mod sessions;
mod streams;
mod support;
mod teardown;
mod unruly;
