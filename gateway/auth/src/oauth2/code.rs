//! The authorization code flow (RFC 6749 section 4.1) with PKCE (RFC 7636): the user opens a page, logs in, and the page they come
//! back to shows a code that they bring to the terminal.
//!
//! The code holds the state as well, so that whatever gateway serves that page need not know of the login, and a code that
//! belongs to another login is noticed here. Only this login knows the verifier that makes the code worth anything.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::{Instant, timeout_at};

use super::provider::{Denied, Flow, Places, Provider};
use super::{github, picture, shown};
use crate::{Attempt, Dialogue, Question, Step, Verdict};

pub(super) struct Code {
    provider: Arc<Provider>,
    attempt: Attempt,
    qr: bool,
    deadline: Instant,
    begun: Option<Begun>,
}

/// A login that waits for its code.
struct Begun {
    places: Places,
    state: String,
    nonce: String,
    verifier: String,
}

/// 256 bits, as text.
fn random() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

impl Code {
    pub(super) fn new(provider: Arc<Provider>, attempt: Attempt, qr: bool) -> Self {
        let deadline = Instant::now() + provider.timeout();
        Self { provider, attempt, qr, deadline, begun: None }
    }

    async fn begin(&mut self) -> Result<Question, Denied> {
        let places = self.provider.places().await?;
        let mut url = places
            .authorization
            .clone()
            .ok_or_else(|| Denied::unavailable("discovery: it has no authorization_endpoint".to_owned()))?;
        let begun = Begun { places, state: random(), nonce: random(), verifier: random() };
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, begun.verifier.as_bytes()));
        if let Some(redirect) = self.redirect_uri() {
            url.query_pairs_mut().append_pair("redirect_uri", redirect);
        }
        url.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.provider.settings.client_id),
            ("scope", &self.provider.scopes()),
            ("state", &begun.state),
            ("nonce", &begun.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let address = url.as_str();
        let instructions = format!(
            "{}To log in, open this address in a browser, and bring the code that it shows in the end:\n\n{}\n",
            picture(address, self.qr),
            shown(address)
        );
        self.begun = Some(begun);
        Ok(Question { instructions, prompts: vec![("Code: ".to_owned(), true)] })
    }

    /// Where the browser is sent back to. GitHub knows it of the application.
    fn redirect_uri(&self) -> Option<&str> {
        Some(self.provider.settings.oidc.redirect_uri.as_str()).filter(|uri| !uri.is_empty())
    }

    async fn exchange(&self, begun: &Begun, answer: &str) -> Result<Verdict, Denied> {
        let refused = |reason: &str| Denied::rejected(reason.to_owned());
        let (state, code) = answer.trim().split_once('.').ok_or_else(|| refused("the code is none"))?;
        if verify_slices_are_equal(state.as_bytes(), begun.state.as_bytes()).is_err() {
            return Err(refused("the code belongs to another login"));
        }
        let mut fields =
            vec![("grant_type", "authorization_code"), ("code", code), ("code_verifier", &begun.verifier)];
        fields.extend(self.redirect_uri().map(|redirect| ("redirect_uri", redirect)));
        match self.provider.tokens(&begun.places, &fields).await? {
            Ok(tokens) => {
                let flow = Flow::Code { nonce: &begun.nonce };
                let identity = self.provider.identity(&begun.places, &tokens, flow, &self.attempt).await?;
                Ok(Verdict::Accepted(Box::new(identity)))
            }
            Err(word) if ["invalid_grant", github::BAD_CODE].contains(&word.as_str()) => {
                Err(refused("the provider does not take the code"))
            }
            Err(word) => Err(Denied::unavailable(format!("tokens: {word}"))),
        }
    }
}

#[async_trait]
impl Dialogue for Code {
    async fn next(&mut self, answers: &[String]) -> Step {
        let deadline = self.deadline;
        let result = match self.begun.take() {
            None => timeout_at(deadline, self.begin()).await.map(|question| question.map(Step::Ask)),
            Some(begun) => {
                let answer = answers.first().map_or("", String::as_str);
                timeout_at(deadline, self.exchange(&begun, answer))
                    .await
                    .map(|verdict| verdict.map(Step::Done))
            }
        };
        let late = || Denied::rejected("nobody logged in within authTimeout".to_owned());
        result
            .unwrap_or_else(|_| Err(late()))
            .unwrap_or_else(|denied| Step::Done(denied.into_verdict(&self.attempt)))
    }
}
