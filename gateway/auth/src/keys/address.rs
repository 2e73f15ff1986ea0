//! Networks in the notation of RFC 4632 and RFC 4291.

use std::net::IpAddr;

/// `address/length`.
pub(crate) fn cidr(pattern: &str) -> Option<(IpAddr, u32)> {
    let (address, length) = pattern.split_once('/')?;
    let (address, length): (IpAddr, u32) = (address.parse().ok()?, length.parse().ok()?);
    let most = if address.is_ipv4() { 32 } else { 128 };
    (length <= most).then_some((address, length))
}

/// A network, or one address.
pub(crate) fn cidr_or_address(text: &str) -> Option<(IpAddr, u32)> {
    cidr(text).or_else(|| {
        let address: IpAddr = text.parse().ok()?;
        Some((address, if address.is_ipv4() { 32 } else { 128 }))
    })
}

/// Whether an address lies in a network.
pub(crate) fn contains((network, length): (IpAddr, u32), client: IpAddr) -> bool {
    match (network, client) {
        (IpAddr::V4(network), IpAddr::V4(client)) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            (network.to_bits() ^ client.to_bits()) & mask == 0
        }
        (IpAddr::V6(network), IpAddr::V6(client)) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            (network.to_bits() ^ client.to_bits()) & mask == 0
        }
        _ => false,
    }
}
