//! A client that says what it likes: key exchange (curve25519-sha256, RFC 8731) and encryption (AES-256 in GCM, RFC 5647) by
//! hand, and above that any message in any order. It trusts every host key.

use std::io;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Gateway, within};

const IDENTIFICATION: &str = "SSH-2.0-Raw";

/// `string` (RFC 4251 section 5).
pub(crate) fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

/// `mpint` of an unsigned number.
fn mpint(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let number = &bytes[start..];
    let sign: &[u8] = if number.first().is_some_and(|first| first & 0x80 != 0) { &[0] } else { &[] };
    string([sign, number].concat())
}

/// What it can do (RFC 4253 section 7.1), strict key exchange among it.
pub(crate) fn kexinit() -> Vec<u8> {
    let lists = [
        "curve25519-sha256,kex-strict-c-v00@openssh.com",
        "ssh-ed25519",
        "aes256-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "hmac-sha2-512-etm@openssh.com",
        "hmac-sha2-512-etm@openssh.com",
        "none",
        "none",
        "",
        "",
    ];
    [vec![20], vec![7; 16], lists.iter().flat_map(string).collect(), vec![0; 5]].concat()
}

/// One direction's key.
struct Cipher {
    key: LessSafeKey,
    nonce: [u8; 12],
}

impl Cipher {
    fn new(key: &[u8], iv: &[u8]) -> Self {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
        Self { key, nonce: iv[..12].try_into().unwrap() }
    }

    /// The nonce of the next packet.
    fn next(&mut self) -> Nonce {
        let nonce = self.nonce;
        let counter = u64::from_be_bytes(nonce[4..].try_into().unwrap()).wrapping_add(1);
        self.nonce[4..].copy_from_slice(&counter.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

/// A user's key.
pub(crate) struct UserKey(Ed25519KeyPair);

impl UserKey {
    pub(crate) fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    fn blob(&self) -> Vec<u8> {
        [string("ssh-ed25519"), string(self.0.public_key())].concat()
    }

    /// As in a file of authorized keys.
    pub(crate) fn authorized(&self) -> String {
        russh::keys::PublicKey::from_bytes(&self.blob()).unwrap().to_openssh().unwrap()
    }
}

pub(crate) struct Raw {
    stream: TcpStream,
    client: Option<Cipher>,
    server: Option<Cipher>,
    session: Vec<u8>,
}

impl Raw {
    /// Connects and exchanges identifications; keys are yet to be exchanged.
    pub(crate) async fn connect(gateway: &Gateway) -> Self {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(format!("{IDENTIFICATION}\r\n").as_bytes()).await.unwrap();
        let mut raw = Self { stream, client: None, server: None, session: Vec::new() };
        let line = raw.line().await;
        raw.session = line;
        raw
    }

    async fn line(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.push(within("the identification", self.stream.read_u8()).await.unwrap());
        }
        line
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        // The length counts towards the block only where it is not encrypted (RFC 5647 section 7.2).
        let (before, block) = if self.client.is_some() { (1, 16) } else { (5, 8) };
        let mut padding = block - (before + payload.len()) % block;
        if padding < 4 {
            padding += block;
        }
        let length = u32::try_from(1 + payload.len() + padding).unwrap().to_be_bytes();
        let mut packet = [&[u8::try_from(padding).unwrap()], payload, &vec![0; padding]].concat();
        if let Some(cipher) = &mut self.client {
            let nonce = cipher.next();
            cipher.key.seal_in_place_append_tag(nonce, Aad::from(length), &mut packet).unwrap();
        }
        self.stream.write_all(&[&length, packet.as_slice()].concat()).await
    }

    /// The next message; `None` once the connection has ended.
    pub(crate) async fn receive(&mut self) -> Option<Vec<u8>> {
        within("a message, or the end", async {
            let length = self.stream.read_u32().await.ok()?;
            assert!(length < 300_000, "not a packet");
            let tag = if self.server.is_some() { 16 } else { 0 };
            let mut packet = vec![0; usize::try_from(length).unwrap() + tag];
            self.stream.read_exact(&mut packet).await.ok()?;
            if let Some(cipher) = &mut self.server {
                let nonce = cipher.next();
                let opened = cipher.key.open_in_place(nonce, Aad::from(length.to_be_bytes()), &mut packet);
                packet = opened.unwrap().to_vec();
            }
            let padding = usize::from(packet[0]);
            Some(packet[1..packet.len() - padding].to_vec())
        })
        .await
    }

    /// Ends its half of the connection.
    pub(crate) async fn say_no_more(&mut self) {
        // It fails only if the other side was quicker.
        let _ = self.stream.shutdown().await;
    }

    /// The numbers of all messages until the connection ends.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut numbers = Vec::new();
        while let Some(message) = self.receive().await {
            numbers.push(message[0]);
        }
        numbers
    }

    /// Waits for a message of one of these numbers.
    pub(crate) async fn until(&mut self, wanted: &[u8]) -> Option<Vec<u8>> {
        loop {
            let message = self.receive().await?;
            if wanted.contains(&message[0]) {
                return Some(message);
            }
        }
    }

    /// Sends the first message of the key exchange and a share of the client's choice; returns the server's first message.
    pub(crate) async fn begin_keys(&mut self, share: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.send(&kexinit()).await?;
        self.send(&[vec![30], string(share)].concat()).await?;
        Ok(self.until(&[20]).await)
    }

    /// Exchanges keys.
    pub(crate) async fn exchange_keys(&mut self) {
        let theirs = String::from_utf8(std::mem::take(&mut self.session)).unwrap();
        let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).unwrap();
        let public = private.compute_public_key().unwrap();
        let init = self.begin_keys(public.as_ref()).await.unwrap().unwrap();
        let reply = self.until(&[31]).await.unwrap();
        let mut rest = &reply[1..];
        let mut next = || {
            let length = usize::try_from(u32::from_be_bytes(rest[..4].try_into().unwrap())).unwrap();
            let field = rest[4..4 + length].to_vec();
            rest = &rest[4 + length..];
            field
        };
        let (host_key, share) = (next(), next());
        let error = io::Error::other("no agreement");
        let peer = UnparsedPublicKey::new(&X25519, &share);
        let secret = agreement::agree_ephemeral(private, peer, error, |secret| Ok(mpint(secret))).unwrap();
        let hashed = [
            string(IDENTIFICATION),
            string(theirs.trim_end()),
            string(kexinit()),
            string(init),
            string(host_key),
            string(public.as_ref()),
            string(share),
            secret.clone(),
        ]
        .concat();
        let hash = Sha256::digest(hashed).to_vec();
        let derive = |letter: u8| Sha256::digest([&secret, &hash, &[letter][..], &hash].concat()).to_vec();
        self.send(&[21]).await.unwrap();
        self.until(&[21]).await.unwrap();
        self.client = Some(Cipher::new(&derive(b'C'), &derive(b'A')));
        self.server = Some(Cipher::new(&derive(b'D'), &derive(b'B')));
        self.session = hash;
    }

    /// Signs for that one's session from now on.
    pub(crate) fn take_session_of(&mut self, other: &Raw) {
        self.session.clone_from(&other.session);
    }

    /// Asks for authentication and is granted it.
    pub(crate) async fn ask_for_login(&mut self) {
        self.send(&[vec![5], string("ssh-userauth")].concat()).await.unwrap();
        self.until(&[6]).await.unwrap();
    }

    /// Says who it is by a key, with or without a proof (RFC 4252 section 7); returns the answer's number.
    pub(crate) async fn public_key(&mut self, user: &str, key: &UserKey, proven: bool) -> Option<u8> {
        let method = [string("ssh-connection"), string("publickey")].concat();
        let asked = [string("ssh-ed25519"), string(key.blob())].concat();
        let mut request = [vec![50], string(user), method, vec![u8::from(proven)], asked].concat();
        if proven {
            let signed = key.0.sign(&[string(&self.session), request.clone()].concat());
            request.extend(string([string("ssh-ed25519"), string(signed)].concat()));
        }
        self.send(&request).await.ok()?;
        self.until(&[51, 52, 60]).await.map(|answer| answer[0])
    }

    /// Opens a session and returns the server's number of it.
    pub(crate) async fn open_session(&mut self) -> u32 {
        self.send(&open_session()).await.unwrap();
        let opened = self.until(&[91]).await.unwrap();
        u32::from_be_bytes(opened[5..9].try_into().unwrap())
    }
}

/// The request for a session (RFC 4254 section 6.1).
pub(crate) fn open_session() -> Vec<u8> {
    [vec![90], string("session"), [0_u32, 1 << 20, 1 << 15].iter().flat_map(|n| n.to_be_bytes()).collect()]
        .concat()
}

/// A request on a channel that wants an answer (RFC 4254 section 5.4).
pub(crate) fn channel_request(channel: u32, kind: &str, data: &[u8]) -> Vec<u8> {
    [vec![98], channel.to_be_bytes().to_vec(), string(kind), vec![1], data.to_vec()].concat()
}
