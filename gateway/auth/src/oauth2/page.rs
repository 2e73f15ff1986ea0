//! The page that a browser comes back to: shows the code to bring to the terminal. It knows of no login and keeps nothing.

/// Longest parameter that is shown.
const MAX_PARAMETER: usize = 2048;

/// The page for a query string. What is shown consists of characters that mean nothing to a browser.
#[must_use]
pub fn page(query: &str) -> String {
    let find = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let text = match (find("state").and_then(decoded), find("code").and_then(decoded)) {
        (Some(state), Some(code)) => {
            format!("<p>Bring this code to your terminal:</p><p><code>{state}.{code}</code></p>")
        }
        _ => "<p>The login did not succeed. Please begin again in your terminal.</p>".to_owned(),
    };
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>SSH login</title><body>{text}</body></html>\n"
    )
}

/// A parameter of the characters that codes are made of (RFC 6749 appendix A.11 allows more, and no provider uses them).
fn decoded(value: &str) -> Option<String> {
    if value.len() > MAX_PARAMETER {
        return None;
    }
    let mut text = String::new();
    let mut rest = value.chars();
    while let Some(character) = rest.next() {
        let character = match character {
            '%' => {
                let (high, low) = (rest.next()?.to_digit(16)?, rest.next()?.to_digit(16)?);
                char::from_u32(high * 16 + low)?
            }
            other => other,
        };
        let plain = character.is_ascii_alphanumeric() || "-._~/+=|:".contains(character);
        text.push(plain.then_some(character)?);
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_shown_with_its_state() {
        assert!(page("code=a%2Fb-1&state=XyZ").contains("<code>XyZ.a/b-1</code>"));
    }

    #[test]
    fn nothing_that_a_browser_would_run_is_shown() {
        for query in [
            "",
            "code=a",
            "state=b",
            "code=&state=b",
            "error=access_denied&error_description=%3Cscript%3E",
            "code=%3Cscript%3E&state=b",
            "code=<b>&state=b",
            "code=a%&state=b",
            "code=a%zz&state=b",
            "code=a%C3%A9&state=b",
            &format!("code={}&state=b", "a".repeat(5000)),
        ] {
            let page = page(query);
            assert!(
                page.contains("did not succeed") && !page.contains("script") && !page.contains("<b>"),
                "{query}"
            );
        }
    }
}
