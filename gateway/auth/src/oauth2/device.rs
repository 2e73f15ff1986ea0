//! The device flow (RFC 8628): the user opens a page anywhere and enters a short code there; meanwhile the provider is asked from
//! time to time whether they have.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep, timeout_at};

use super::provider::{Denied, Flow, Places, Provider};
use super::{picture, shown};
use crate::{Attempt, Dialogue, Question, Step, Verdict};

/// How often the provider is asked, where it does not say (RFC 8628 section 3.2), and at most and least.
const INTERVAL: Duration = Duration::from_secs(5);
const LEAST_INTERVAL: Duration = Duration::from_secs(1);
const MOST_INTERVAL: Duration = Duration::from_secs(30);
/// Added when the provider asks for it (section 3.5).
const SLOWER: Duration = Duration::from_secs(5);

pub(super) struct Device {
    provider: Arc<Provider>,
    attempt: Attempt,
    qr: bool,
    deadline: Instant,
    begun: Option<Begun>,
}

/// A login that waits for its user.
struct Begun {
    places: Places,
    device_code: String,
    interval: Duration,
}

impl Device {
    pub(super) fn new(provider: Arc<Provider>, attempt: Attempt, qr: bool) -> Self {
        let deadline = Instant::now() + provider.timeout();
        Self { provider, attempt, qr, deadline, begun: None }
    }

    async fn begin(&mut self) -> Result<Question, Denied> {
        let places = self.provider.places().await?;
        let url = places.device.clone().ok_or_else(|| {
            Denied::unavailable("discovery: it has no device_authorization_endpoint".to_owned())
        })?;
        let codes = self.provider.device_codes(&url).await?;
        let text = |key: &str| codes.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let missing = |key: &str| Denied::unavailable(format!("device codes: there is no {key}"));
        let device_code = text("device_code").ok_or_else(|| missing("device_code"))?.to_owned();
        let user_code = text("user_code").ok_or_else(|| missing("user_code"))?;
        let address = text("verification_uri").ok_or_else(|| missing("verification_uri"))?;
        let whole = text("verification_uri_complete").unwrap_or(address);
        let seconds = codes.get("interval").and_then(Value::as_u64);
        let interval = seconds.map_or(INTERVAL, Duration::from_secs).clamp(LEAST_INTERVAL, MOST_INTERVAL);
        if let Some(seconds) = codes.get("expires_in").and_then(Value::as_u64) {
            let expires = Instant::now().checked_add(Duration::from_secs(seconds));
            self.deadline = expires.map_or(self.deadline, |expires| expires.min(self.deadline));
        }
        let instructions = format!(
            "{}To log in, open {} in a browser and enter the code {}\n",
            picture(whole, self.qr),
            shown(address),
            shown(user_code)
        );
        self.begun = Some(Begun { places, device_code, interval });
        Ok(Question { instructions, prompts: Vec::new() })
    }

    async fn wait(&mut self, mut begun: Begun) -> Result<Verdict, Denied> {
        loop {
            sleep(begun.interval).await;
            let fields = [
                ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
                ("device_code", begun.device_code.as_str()),
            ];
            match self.provider.tokens(&begun.places, &fields).await? {
                Ok(tokens) => return self.identify(&begun.places, &tokens).await,
                Err(word) => match word.as_str() {
                    "authorization_pending" => {}
                    "slow_down" => begun.interval = (begun.interval + SLOWER).min(MOST_INTERVAL),
                    "access_denied" => return Err(Denied::rejected("the user refused".to_owned())),
                    "expired_token" => return Err(Denied::rejected("the code has expired".to_owned())),
                    other => return Err(Denied::unavailable(format!("tokens: {other}"))),
                },
            }
        }
    }

    async fn identify(&self, places: &Places, tokens: &Map<String, Value>) -> Result<Verdict, Denied> {
        let identity = self.provider.identity(places, tokens, Flow::Device, &self.attempt).await?;
        Ok(Verdict::Accepted(Box::new(identity)))
    }
}

#[async_trait]
impl Dialogue for Device {
    async fn next(&mut self, _answers: &[String]) -> Step {
        let deadline = self.deadline;
        let result = match self.begun.take() {
            None => timeout_at(deadline, self.begin()).await.map(|question| question.map(Step::Ask)),
            Some(begun) => {
                timeout_at(deadline, self.wait(begun)).await.map(|verdict| verdict.map(Step::Done))
            }
        };
        let late = || Denied::rejected("nobody logged in within authTimeout".to_owned());
        result
            .unwrap_or_else(|_| Err(late()))
            .unwrap_or_else(|denied| Step::Done(denied.into_verdict(&self.attempt)))
    }
}
