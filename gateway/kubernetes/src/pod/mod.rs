//! One pod: what it looks like, how it comes to be, what is seen of it, how it goes.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod kinds;
pub(crate) mod lease;
pub(crate) mod manifest;
pub(crate) mod meta;
pub(crate) mod observation;
pub(crate) mod wait;
pub(crate) mod watch;
