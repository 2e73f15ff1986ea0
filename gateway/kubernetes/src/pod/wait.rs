//! Waits until a pod is ready, and tells whoever waits with it why it takes time.

use std::time::Duration;

use containerssh_backend::{BackendError, ProgressSender};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::observation::{Observation, Trouble};

/// How long a pull that failed may be tried again: the kubelet's second attempt comes after ten seconds, a third only
/// twenty later, and there is a person waiting.
const PULL_GRACE: Duration = Duration::from_secs(15);

/// Why a pod did not become ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotReady {
    /// It cannot be.
    Failed(String),
    /// It was not in time; what it was doing.
    Late(String),
}

impl NotReady {
    /// For the user. `trouble` is what keeps the gateway from seeing the pod, if anything does.
    pub(crate) fn into_error(self, name: &str, limit: Duration, trouble: Option<String>) -> BackendError {
        match (self, trouble) {
            (Self::Failed(reason), _) => BackendError::StartFailed(reason),
            (Self::Late(doing), trouble) => {
                let trouble = trouble
                    .map(|trouble| format!("; the gateway cannot watch it: {trouble}"))
                    .unwrap_or_default();
                let seconds = limit.as_secs_f64();
                BackendError::StartTimeout(format!(
                    "The pod {name} was not ready within {seconds} s: {doing}{trouble}"
                ))
            }
        }
    }
}

/// Follows `pod` until it is ready, until it is clear that it will not be, or until `deadline`.
pub(crate) async fn ready(
    mut pod: watch::Receiver<Observation>,
    progress: &ProgressSender,
    deadline: Instant,
) -> Result<(), NotReady> {
    let mut doing = "waiting for the cluster to take the pod up".to_owned();
    let mut patience: Option<(Instant, String)> = None;
    loop {
        match pod.borrow_and_update().clone() {
            Observation::Unseen => progress.report(doing.clone()),
            Observation::Starting { doing: now, trouble } => {
                progress.report(now.clone());
                doing = now;
                match trouble {
                    Some(Trouble::Permanent(reason)) => return Err(NotReady::Failed(reason)),
                    Some(Trouble::Passing(reason)) => {
                        let until =
                            patience.take().map_or_else(|| Instant::now() + PULL_GRACE, |(until, _)| until);
                        patience = Some((until, reason));
                    }
                    // The next attempt is under way, and shows the same state as the first: patience runs on.
                    None => {}
                }
            }
            Observation::Ready => return Ok(()),
            Observation::Ended(reason) => return Err(NotReady::Failed(reason)),
        }
        let (until, outcome) = match &patience {
            Some((until, reason)) if *until < deadline => (*until, NotReady::Failed(reason.clone())),
            _ => (deadline, NotReady::Late(doing.clone())),
        };
        tokio::select! {
            changed = pod.changed() => {
                if changed.is_err() {
                    return Err(NotReady::Failed("The gateway no longer follows the pod.".to_owned()));
                }
            }
            () = sleep_until(until) => return Err(outcome),
        }
    }
}

/// Resolves when the pod has ended, with the reason. If it is no longer followed, never.
pub(crate) async fn ended(mut pod: watch::Receiver<Observation>) -> String {
    let ended =
        pod.wait_for(|observation| matches!(observation, Observation::Ended(_))).await.map(|end| end.clone());
    match ended {
        Ok(Observation::Ended(reason)) => reason,
        _ => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use containerssh_backend::progress;

    use super::*;

    fn starting(doing: &str, trouble: Option<Trouble>) -> Observation {
        Observation::Starting { doing: doing.to_owned(), trouble }
    }

    fn passing() -> Observation {
        starting("pulling", Some(Trouble::Passing("ImagePullBackOff".to_owned())))
    }

    /// Publishes each observation after its delay, then holds the last.
    async fn play(observations: Vec<(u64, Observation)>) -> (Result<(), NotReady>, Duration, Option<String>) {
        let (sender, receiver) = watch::channel(Observation::Unseen);
        let (progress, shown) = progress();
        let begun = Instant::now();
        let script = async {
            for (seconds, observation) in observations {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                sender.send_replace(observation);
            }
            std::future::pending::<()>().await;
        };
        let result = tokio::select! {
            result = ready(receiver, &progress, begun + Duration::from_secs(60)) => result,
            () = script => unreachable!(),
        };
        (result, begun.elapsed(), shown.borrow().clone())
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_ends_the_wait_and_progress_is_shown() {
        let (result, after, shown) =
            play(vec![(1, starting("creating", None)), (2, Observation::Ready)]).await;
        assert_eq!((result, after, shown.as_deref()), (Ok(()), Duration::from_secs(3), Some("creating")));
    }

    #[tokio::test(start_paused = true)]
    async fn permanent_trouble_fails_at_once() {
        let trouble = Trouble::Permanent("InvalidImageName".to_owned());
        let (result, after, _) = play(vec![(1, starting("x", Some(trouble)))]).await;
        assert_eq!(
            (result, after),
            (Err(NotReady::Failed("InvalidImageName".to_owned())), Duration::from_secs(1))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_pull_gets_the_time_for_one_more_attempt() {
        let (result, after, _) =
            play(vec![(1, passing()), (10, starting("pulling", None)), (1, passing())]).await;
        assert_eq!(
            (result, after),
            (Err(NotReady::Failed("ImagePullBackOff".to_owned())), Duration::from_secs(16))
        );
        let (result, after, _) = play(vec![(1, passing()), (10, Observation::Ready)]).await;
        assert_eq!((result, after), (Ok(()), Duration::from_secs(11)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_says_what_was_waited_for() {
        let (result, after, _) = play(vec![(1, starting("waiting for a node", None))]).await;
        assert_eq!(
            (result.clone(), after),
            (Err(NotReady::Late("waiting for a node".to_owned())), Duration::from_secs(60))
        );
        let error =
            result.unwrap_err().into_error("p", Duration::from_secs(60), Some("forbidden".to_owned()));
        assert_eq!(
            error.to_string(),
            "The pod p was not ready within 60 s: waiting for a node; the gateway cannot watch it: forbidden"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_ends_while_it_starts_fails_with_its_reason() {
        let (result, ..) = play(vec![(1, Observation::Ended("evicted".to_owned()))]).await;
        assert_eq!(result, Err(NotReady::Failed("evicted".to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_is_noticed_and_a_lost_watch_is_not_an_end() {
        let (sender, receiver) = watch::channel(Observation::Ready);
        let end = ended(receiver.clone());
        sender.send_replace(Observation::Ended("evicted".to_owned()));
        assert_eq!(end.await, "evicted");
        let (sender, receiver) = watch::channel(Observation::Ready);
        drop(sender);
        assert!(tokio::time::timeout(Duration::from_secs(3600), ended(receiver)).await.is_err());
    }
}
