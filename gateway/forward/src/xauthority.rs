//! The file in which X11 clients look for their display's cookie: what `xauth add` would write, in images without `xauth`.
//!
//! Entries as in libXau's `XauWriteAuth`: a family, then address, display number, protocol and cookie, each a length of two
//! bytes (big endian) and so many bytes.

/// Longest protocol name and cookie: the known ones are 18 and 32 bytes long.
const MAX_FIELD: usize = 256;

/// Clients compare the host's name.
const FAMILY_LOCAL: u16 = 256;
/// Clients compare nothing but the display's number.
const FAMILY_WILD: u16 = 65535;

/// Why a cookie cannot be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    Protocol,
    Cookie,
}

/// The file for one display. `cookie` is hexadecimal, as in the request (RFC 4254 section 6.3.1).
///
/// Two entries: most clients read the wild one, whatever the host calls itself; some know only names.
pub(crate) fn file(host: &[u8], display: u16, protocol: &str, cookie: &str) -> Result<Vec<u8>, Unusable> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
    if protocol.is_empty() || protocol.len() > MAX_FIELD || !protocol.chars().all(is_name) {
        return Err(Unusable::Protocol);
    }
    let cookie = hex::decode(cookie).map_err(|_| Unusable::Cookie)?;
    if cookie.is_empty() || cookie.len() > MAX_FIELD || host.len() > MAX_FIELD {
        return Err(Unusable::Cookie);
    }
    let number = display.to_string();
    let mut bytes = Vec::new();
    for (family, address) in [(FAMILY_LOCAL, host), (FAMILY_WILD, &[])] {
        bytes.extend(family.to_be_bytes());
        for field in [address, number.as_bytes(), protocol.as_bytes(), &cookie] {
            // Bounded above.
            bytes.extend(u16::try_from(field.len()).unwrap_or_default().to_be_bytes());
            bytes.extend(field);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_as_libxau_writes_them() {
        let wild = b"\xff\xff\x00\x00\x00\x0210\x00\x12MIT-MAGIC-COOKIE-1\x00\x02\xab\xcd";
        let local = b"\x01\x00\x00\x01h\x00\x0210\x00\x12MIT-MAGIC-COOKIE-1\x00\x02\xab\xcd";
        let written = file(b"h", 10, "MIT-MAGIC-COOKIE-1", "ABcd").unwrap();
        assert_eq!(written, [&local[..], wild].concat());
    }

    #[test]
    fn what_is_no_cookie_is_not_written() {
        assert_eq!(file(b"h", 10, "", "ab"), Err(Unusable::Protocol));
        assert_eq!(file(b"h", 10, "A B", "ab"), Err(Unusable::Protocol));
        for cookie in ["", "a", "xy", &"ab".repeat(257)] {
            assert_eq!(file(b"h", 10, "A", cookie), Err(Unusable::Cookie), "{cookie}");
        }
    }
}
