//! Whether an ID token is what it claims to be (OpenID Connect Core section 3.1.3.7): pure.

use jiff::Timestamp;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

/// Algorithms with a key pair. With a shared key whoever checks could also sign, and "none" signs nothing.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Most keys that are tried.
const MAX_KEYS: usize = 64;
/// How far the clocks may differ, in seconds.
const LEEWAY: u64 = 60;

/// What a token has to be about.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    /// The gateway's client id.
    pub(super) audience: &'a str,
    pub(super) nonce: Option<&'a str>,
}

/// The claims of a token that is signed by one of the provider's keys (a JWK set, RFC 7517 section 5), for us, for this login,
/// and valid at `now`. The error completes "the ID token ...", without a value.
pub(super) fn verify(
    token: &str,
    keys: &Map<String, Value>,
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<Map<String, Value>, String> {
    let header = decode_header(token)
        .map_err(|_| "is not a signed JSON web token of a kind that is known".to_owned())?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err("is signed with an algorithm that is not accepted".to_owned());
    }
    let claims = keys
        .get("keys")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .take(MAX_KEYS)
        // Of kinds that are not known there may be others beside.
        .filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok())
        .filter(|key| header.kid.is_none() || key.common.key_id == header.kid)
        .filter_map(|key| DecodingKey::from_jwk(&key).ok())
        .find_map(|key| signed(token, &key, header.alg))
        .ok_or("is not signed by any of the provider's keys")?;
    check(&claims, expected, now)?;
    Ok(claims)
}

/// The claims, if the signature is the key's. What they say is judged in [`check`].
fn signed(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Option<Map<String, Value>> {
    let mut validation = Validation::new(algorithm);
    validation.validate_aud = false;
    validation.validate_exp = false;
    validation.required_spec_claims.clear();
    decode(token, key, &validation).ok().map(|data| data.claims)
}

fn check(claims: &Map<String, Value>, expected: &Expected<'_>, now: Timestamp) -> Result<(), String> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(expected.issuer) {
        return Err("is of another issuer".to_owned());
    }
    if text("sub").is_none_or(str::is_empty) {
        return Err("names no subject".to_owned());
    }
    let audiences: Vec<&str> = match claims.get("aud") {
        Some(Value::String(audience)) => vec![audience],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !audiences.contains(&expected.audience) {
        return Err("is for another audience".to_owned());
    }
    let party = text("azp");
    if (audiences.len() > 1 || party.is_some()) && party != Some(expected.audience) {
        return Err("was given to another party".to_owned());
    }
    let now = now.as_second();
    let leeway = i64::try_from(LEEWAY).unwrap_or_default();
    // JSON numbers may have a fraction.
    let time = |name: &str| claims.get(name).map(Value::as_f64);
    match time("exp") {
        #[allow(clippy::cast_precision_loss, reason = "seconds of this age are exact")]
        Some(Some(expires)) if expires > (now - leeway) as f64 => {}
        Some(Some(_)) => return Err("has expired".to_owned()),
        _ => return Err("does not say until when it is valid".to_owned()),
    }
    for name in ["nbf", "iat"] {
        match time(name) {
            None => {}
            #[allow(clippy::cast_precision_loss, reason = "seconds of this age are exact")]
            Some(Some(from)) if from <= (now + leeway) as f64 => {}
            Some(_) => return Err("is not valid yet".to_owned()),
        }
    }
    if let Some(nonce) = expected.nonce
        && text("nonce") != Some(nonce)
    {
        return Err("belongs to another login".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const EXPECTED: Expected<'_> = Expected { issuer: "https://idp", audience: "gateway", nonce: Some("n") };

    fn claims(change: impl FnOnce(&mut Map<String, Value>)) -> Result<(), String> {
        let Value::Object(mut claims) = json!({
            "iss": "https://idp", "sub": "u1", "aud": "gateway", "exp": 1060, "iat": 1000, "nonce": "n",
        }) else {
            unreachable!()
        };
        change(&mut claims);
        check(&claims, &EXPECTED, Timestamp::from_second(1010).unwrap())
    }

    #[test]
    fn every_claim_has_to_fit() {
        assert_eq!(claims(|_| {}), Ok(()));
        assert_eq!(claims(|claims| drop(claims.insert("aud".into(), json!(["gateway"])))), Ok(()));
        assert_eq!(
            claims(|claims| {
                claims
                    .extend([("aud".into(), json!(["other", "gateway"])), ("azp".into(), json!("gateway"))]);
            }),
            Ok(())
        );
        for (name, value, reason) in [
            ("iss", json!("https://idp/"), "another issuer"),
            ("iss", json!(["https://idp"]), "another issuer"),
            ("sub", json!(""), "no subject"),
            ("sub", json!(5), "no subject"),
            ("aud", json!("other"), "another audience"),
            ("aud", json!([]), "another audience"),
            ("aud", json!(["gateway", "other"]), "another party"),
            ("azp", json!("other"), "another party"),
            ("exp", json!(900), "has expired"),
            ("exp", json!("2000"), "until when"),
            ("nbf", json!(2000), "not valid yet"),
            ("iat", json!(2000), "not valid yet"),
            ("iat", json!("now"), "not valid yet"),
            ("nonce", json!("m"), "another login"),
        ] {
            let error = claims(|claims| drop(claims.insert(name.into(), value.clone()))).unwrap_err();
            assert!(error.contains(reason), "{name} = {value}: {error}");
        }
        for name in ["iss", "sub", "aud", "exp", "nonce"] {
            assert!(claims(|claims| drop(claims.remove(name))).is_err(), "without {name}");
        }
    }

    #[test]
    fn what_is_not_signed_by_a_key_pair_of_the_provider_is_nothing() {
        use base64::Engine as _;
        let encode =
            |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
        let claims = json!({"iss": "https://idp", "sub": "u", "aud": "gateway", "exp": 4_000_000_000_u64, "nonce": "n"});
        let keys = json!({"keys": [{"kty": "oct", "kid": "k", "k": "c2VjcmV0"}, {"kty": "XX"}, 5]});
        let Value::Object(keys) = keys else { unreachable!() };
        let secret = jsonwebtoken::EncodingKey::from_secret(b"secret");
        let symmetric = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &secret).unwrap();
        for token in [
            String::new(),
            "a.b.c".to_owned(),
            format!("{}.{}.", encode(&json!({"alg": "none"})), encode(&claims)),
            format!("{}.{}.AAAA", encode(&json!({"alg": "RS256", "kid": "k"})), encode(&claims)),
            symmetric,
        ] {
            assert!(verify(&token, &keys, &EXPECTED, Timestamp::now()).is_err(), "{token}");
        }
    }
}
