//! Addresses to listen on: `0.0.0.0:2222`, `[::]:2222`, or `:2222` for every address, as Go has it.

use std::net::{Ipv6Addr, SocketAddr};

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serializer};

pub(crate) fn parse(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix(':')
        && let Ok(port) = port.parse()
    {
        // Dual stack where the system has it, like Go.
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    }
    let shown: String = text.chars().take(60).collect();
    text.parse().map_err(|_| {
        format!("{shown:?} is not an address to listen on: write IP and port, like \"0.0.0.0:2222\" or \"[::]:2222\"")
    })
}

pub(crate) fn serialize<S: Serializer>(address: &SocketAddr, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(address)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}
