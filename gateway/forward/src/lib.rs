//! What a guest does for forwarding, on the machine it runs on: the agent in a pod, the backend `local`, a test.
//!
//! ```text
//! dial    TCP (each resolved address tried, RFC 8305) and unix sockets            -L, -D
//! listen  TCP with the addresses of RFC 4254 section 7.1, and unix sockets        -R
//! attach  what one program is given: an X11 display, an agent socket              -X, -A
//!   xauthority  the display's cookie, where the program's X library looks for it
//!   scratch     a private directory for both
//! desk    what arrived at any of them, in one queue until the client takes it
//! stream  a socket as the two halves of a `Stream`; either direction ends by itself
//! ```
//!
//! # Bounds
//! A client decides how much it forwards, so everything it can grow has a number here. Streams, listeners and lookups are
//! counted per [`Forwards`], that is per connection: one connection's appetite never starves another's. What
//! cannot be opened is refused with a reason; what arrives and finds no place waits in the kernel's backlog.
//!
//! # Names
//! are resolved by `getaddrinfo`. In a static musl binary that is musl's own, which reads `/etc/hosts` and
//! `/etc/resolv.conf` itself and needs nothing of the image; in a glibc binary it is what the host's `nsswitch.conf` says.
//!
//! # What stays behind
//! Nothing: sockets, cookies and their directory are removed when what they belong to is dropped.

mod attach;
mod desk;
mod dial;
mod listen;
mod scratch;
mod stream;
mod words;
mod xauthority;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use containerssh_backend::{Bind, DialError, Incoming, Stream, Target, X11};
use tokio::sync::Semaphore;

pub use attach::Attached;
use desk::Queue;
pub use dial::DIAL_TIMEOUT;
use dial::Dialer;
use listen::Listener;
use scratch::Scratch;

/// Streams open at once, those that are being dialed included. What a process may have open on a system with the usual
/// limits; a browser behind `ssh -D` has some hundred.
pub const MAX_STREAMS: usize = 1024;
/// Listeners at once. Nobody is known to use more than a few dozen; each holds up to two sockets and their backlog.
pub const MAX_LISTENERS: usize = 128;

/// All forwarding of one connection.
#[derive(Debug)]
pub struct Forwards {
    dialer: Dialer,
    queue: Queue,
    slots: Arc<Semaphore>,
    listeners: Mutex<HashMap<Bind, Listener>>,
    scratch: Scratch,
}

impl Default for Forwards {
    fn default() -> Self {
        Self::new()
    }
}

impl Forwards {
    /// Nothing forwarded yet.
    #[must_use]
    pub fn new() -> Self {
        let streams = Arc::new(Semaphore::new(MAX_STREAMS));
        Self {
            dialer: Dialer::new(Arc::clone(&streams)),
            queue: Queue::new(streams),
            slots: Arc::new(Semaphore::new(MAX_LISTENERS)),
            listeners: Mutex::default(),
            scratch: Scratch::default(),
        }
    }

    /// Opens a stream to `target`. Takes no longer than [`DIAL_TIMEOUT`].
    ///
    /// # Errors
    /// With the reason, in words for the user.
    pub async fn dial(&self, target: &Target) -> Result<Stream, DialError> {
        self.dialer.dial(target).await
    }

    /// Listens; what arrives comes from [`Forwards::accept`]. Returns the port listened on, 0 for a unix socket.
    ///
    /// # Errors
    /// With the reason, in words for the user.
    pub async fn listen(&self, bind: &Bind) -> Result<u16, DialError> {
        let slot = self.slot()?;
        let (listener, port) = match bind {
            Bind::Tcp { host, port } => {
                listen::tcp(host, *port, &self.dialer, self.queue.desk(), slot).await?
            }
            Bind::Unix { path } => (listen::unix(path, self.queue.desk(), slot)?, 0),
        };
        let key = match bind {
            Bind::Tcp { host, .. } => Bind::Tcp { host: host.clone(), port },
            Bind::Unix { .. } => bind.clone(),
        };
        self.listeners().insert(key, listener);
        Ok(port)
    }

    /// Ends a [`Forwards::listen`], named by what it was given with the port it returned: once this returns, the address
    /// is free again. Streams that came from it go on. `false` if there is none.
    pub async fn unlisten(&self, bind: &Bind) -> bool {
        let listener = self.listeners().remove(bind);
        match listener {
            Some(listener) => {
                listener.close().await;
                true
            }
            None => false,
        }
    }

    /// The next stream that arrived, at a listener or at what a program was given. Cancel-safe.
    pub async fn accept(&self) -> Incoming {
        self.queue.next().await
    }

    /// A display whose connections come from [`Forwards::accept`], for one program.
    ///
    /// # Errors
    /// With the reason. The program can run without.
    pub async fn x11(&self, request: &X11) -> Result<Attached, DialError> {
        attach::x11(request, self.queue.desk(), self.slot()?, &self.scratch).await
    }

    /// A socket of an authentication agent whose connections come from [`Forwards::accept`], for one program.
    ///
    /// # Errors
    /// With the reason. The program can run without.
    pub async fn auth_agent(&self) -> Result<Attached, DialError> {
        attach::auth_agent(self.queue.desk(), self.slot()?, &self.scratch)
    }

    /// Ends every listener. Streams go on until they are dropped.
    pub async fn close(&self) {
        let listeners = std::mem::take(&mut *self.listeners());
        for listener in listeners.into_values() {
            listener.close().await;
        }
    }

    fn slot(&self) -> Result<listen::Slot, DialError> {
        Arc::clone(&self.slots)
            .try_acquire_owned()
            .map_err(|_| DialError::Exhausted(format!("there are {MAX_LISTENERS} listeners already")))
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<Bind, Listener>> {
        // Held for one instruction of the map, which cannot panic half-way.
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
