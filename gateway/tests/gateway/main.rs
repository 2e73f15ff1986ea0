//! The gateway as clients meet it: a real server on a real port, real SSH clients, programs that really run (as processes of
//! this machine, by a backend of the tests), and records in real files.

mod ending;
mod limits;
mod login;
mod openssh;
mod process;
mod reloading;
mod sessions;
mod streams;
mod support;
