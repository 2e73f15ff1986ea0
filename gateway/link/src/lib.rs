//! A guest at a distance: the gateway's [`RemoteGuest`] and the agent's [`serve`], and what they say to each other.
//!
//! ```text
//! gateway                                             pod
//! RemoteGuest ── Carrier ──► one connection per program or stream ──► serve ──► any Guest (the agent's HostGuest)
//!     │                            TLS 1.3, both sides by key
//!     └── the first connection stays for as long as the guest is used: its end is the guest's end
//! ```
//!
//! # Why it is not SSH
//! SSH multiplexes: all channels share one connection, one window each. russh grants windows on receipt and waits for a
//! channel that is not read, so one program that does not read its input would hold up the output of all, its own included,
//! and a program that waits for its output to be taken before it reads on would never end. Here every
//! program and every forwarded stream has a TCP connection of its own: the kernel's windows are the back-pressure, nothing waits
//! for anything else, and encryption runs on as many cores as there are busy programs. What it costs is a TCP and a TLS handshake
//! per program, two round trips within the cluster.
//!
//! # Who is who
//! Both sides make a key for each guest ([`Identity`]). The gateway's public key reaches the agent through the standard input of the
//! exec that starts it, the agent's comes back through its standard output ([`Greeting`], [`Hello`]); private keys stay in
//! the memory that they were made in. TLS carries them as raw public keys (RFC 7250): there is no name and no authority
//! to check, only whether it is that key.
//!
//! # What holds
//! - Neither side trusts the other's bytes: frames are bounded ([`frame`]), lists are bounded, every wait for an answer has a
//!   deadline.
//! - Bytes of programs are moved, not copied, except into and out of TLS records.
//! - A connection that dies, with its program or stream, is noticed by both within [`KEEPALIVE`]'s bounds, also when a
//!   node vanishes without a word.

mod carrier;
mod client;
mod forwarded;
pub mod frame;
mod message;
mod server;
mod socket;
mod tls;

pub use carrier::{Bytestream, Carrier, Direct};
pub use client::{LinkError, RemoteGuest};
pub use message::{Greeting, Hello, PROTOCOL};
pub use server::serve;
pub use socket::KEEPALIVE;
pub use tls::{Identity, KeyError, PublicKey};
