//! Keyboard-interactive (RFC 4256): questions to the user until there is a verdict.

use std::sync::Arc;

use containerssh_auditlog::{Payload, Question as RecordedQuestion};
use containerssh_auth::{Question, Step, Verdict};
use containerssh_config::AuthenticationMethod as Method;
use tokio::time::Instant;

use super::admit::admit;
use super::report::report;
use super::steps::Turn;
use super::{Answer, Judged, Login, MAX_USERNAME, recorded_name};
use crate::admin::AuthType;
use crate::ssh::connection::{Connection, NotRecorded};

/// Questions in one login: nobody asks more.
const MAX_QUESTIONS: u32 = 16;
/// Answers to one question, and bytes of each.
const MAX_ANSWERS: usize = 8;
const MAX_ANSWER: usize = 4096;

/// What the client is told.
#[derive(Debug)]
pub(crate) enum Reply {
    Ask(Question),
    Settled(Answer),
}

impl Login {
    /// A request to begin (`answers` is `None`), or the answers to the last question.
    pub(crate) async fn interactive(
        &mut self,
        connection: &Arc<Connection>,
        user: &str,
        answers: Option<Vec<Vec<u8>>>,
    ) -> Reply {
        if self.is_over(user, Method::KeyboardInteractive) {
            return Reply::Settled(Answer::Abort);
        }
        match self.step(connection, user, answers).await {
            Ok(Reply::Ask(question)) => Reply::Ask(question),
            Ok(Reply::Settled(answer)) => Reply::Settled(self.settle(Ok(answer))),
            Err(not_recorded) => Reply::Settled(self.settle(Err(not_recorded))),
        }
    }

    async fn step(
        &mut self,
        connection: &Arc<Connection>,
        user: &str,
        answers: Option<Vec<Vec<u8>>>,
    ) -> Result<Reply, NotRecorded> {
        let begun = Instant::now();
        let waiting = self.dialogue.take().filter(|(whose, _)| whose == user).map(|(_, dialogue)| dialogue);
        let allowed =
            user.len() <= MAX_USERNAME && self.steps.turn(user, Method::KeyboardInteractive) == Turn::Yes;
        let (dialogue, answers) = match answers {
            // A new beginning ends what was there.
            None if allowed => {
                self.questions += 1;
                let authenticator = &connection.snapshot.services.authenticator;
                (authenticator.keyboard_interactive(&connection.attempt(user)), Vec::new())
            }
            Some(answers) if allowed => (waiting, readable(answers)),
            _ => (None, Vec::new()),
        };
        let Some(mut dialogue) = dialogue.filter(|_| self.questions <= MAX_QUESTIONS) else {
            return self.done(connection, user, Verdict::Rejected, begun).await;
        };
        let step = tokio::select! {
            step = dialogue.next(&answers) => step,
            () = connection.wire.kill.cancelled() => Step::Done(Verdict::Unavailable("the client left".to_owned())),
        };
        match step {
            Step::Done(verdict) => self.done(connection, user, verdict, begun).await,
            Step::Ask(question) => {
                // Answers are not recorded: they are as good as passwords, and good once.
                let questions = (question.prompts.iter())
                    .map(|(prompt, echo)| RecordedQuestion { question: prompt.clone(), echo: *echo })
                    .collect();
                let challenge = Payload::AuthKeyboardInteractiveChallenge {
                    username: recorded_name(user),
                    instruction: question.instructions.clone(),
                    questions,
                };
                connection.record(challenge).await?;
                self.dialogue = Some((user.to_owned(), dialogue));
                Ok(Reply::Ask(question))
            }
        }
    }

    async fn done(
        &mut self,
        connection: &Arc<Connection>,
        user: &str,
        verdict: Verdict,
        begun: Instant,
    ) -> Result<Reply, NotRecorded> {
        report(connection, user, AuthType::keyboard_interactive, &verdict, begun);
        let username = recorded_name(user);
        let answer = match self.judge(connection, user, Method::KeyboardInteractive, verdict).await {
            Judged::Complete(admission) => {
                admit(connection, user, *admission).await?;
                Answer::Accept
            }
            Judged::Partial => Answer::Partial,
            Judged::Rejected => {
                connection.record(Payload::AuthKeyboardInteractiveFailed { username }).await?;
                Answer::Reject
            }
            Judged::Unavailable(reason) => {
                connection.record(Payload::AuthKeyboardInteractiveBackendError { username, reason }).await?;
                Answer::Reject
            }
        };
        Ok(Reply::Settled(answer))
    }
}

/// Answers as text: what is not, or is too long, is an empty answer.
fn readable(answers: Vec<Vec<u8>>) -> Vec<String> {
    let text = |answer: Vec<u8>| {
        Some(answer)
            .filter(|answer| answer.len() <= MAX_ANSWER)
            .and_then(|answer| String::from_utf8(answer).ok())
    };
    answers.into_iter().take(MAX_ANSWERS).map(|answer| text(answer).unwrap_or_default()).collect()
}
