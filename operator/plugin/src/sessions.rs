//! Sessions: each connection's pod carries who, from where and through which gateway.

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, LogParams},
};

use crate::table::{printable, table};

const GUESTS: &str = "app.kubernetes.io/name=containerssh-guest";
const GATEWAYS: &str = "app.kubernetes.io/name=containerssh-gateway";
const CONNECTION: &str = "containerssh_connection_id";
/// Logs read at once.
const AT_ONCE: usize = 8;

async fn guests(client: &Client, selector: &str) -> Result<Vec<Pod>> {
    let api: Api<Pod> = Api::all(client.clone());
    let selector = format!("{GUESTS}{selector}");
    Ok(api.list(&ListParams::default().labels(&selector)).await.context("listing users' pods")?.items)
}

/// One line for each session; `namespace` is that of the gateway, wherever its users' pods are.
pub(crate) async fn sessions(
    client: &Client,
    namespace: Option<&str>,
    gateway: Option<&str>,
) -> Result<String> {
    let of =
        |key: &str, value: Option<&str>| value.map(|value| format!(",{key}={value}")).unwrap_or_default();
    let selector = format!(
        "{}{}",
        of("containerssh.io/gateway-namespace", namespace),
        of("containerssh.io/gateway", gateway)
    );
    let now = jiff::Timestamp::now();
    let rows: Vec<_> = guests(client, &selector).await?.iter().map(|pod| row(pod, now)).collect();
    Ok(table(&["GATEWAY", "USER", "FROM", "AGE", "PHASE", "POD", "CONNECTION"], &rows))
}

fn row(pod: &Pod, now: jiff::Timestamp) -> Vec<String> {
    let label = |key: &str| pod.labels().get(key).cloned().unwrap_or_default();
    let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    vec![
        format!("{}/{}", label("containerssh.io/gateway-namespace"), label("containerssh.io/gateway")),
        printable(&label("containerssh_username")),
        printable(pod.annotations().get("containerssh_ip").map(String::as_str).unwrap_or_default()),
        pod.creation_timestamp().map(|since| age(now.duration_since(since.0))).unwrap_or_default(),
        if pod.metadata.deletion_timestamp.is_some() { "Ending".to_owned() } else { phase },
        format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()),
        label(CONNECTION),
    ]
}

/// As kubectl shows ages: one unit.
fn age(since: jiff::SignedDuration) -> String {
    let seconds = since.as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// An id that may stand in a label selector; anything else would select something else.
fn checked(connection: &str) -> Result<&str> {
    let good =
        !connection.is_empty() && connection.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    ensure!(good, "{:?} is no connection id", printable(connection));
    Ok(connection)
}

/// Deletes the session's pod.
pub(crate) async fn kill(client: &Client, connection: &str) -> Result<String> {
    let found = guests(client, &format!(",{CONNECTION}={}", checked(connection)?)).await?;
    ensure!(
        !found.is_empty(),
        "no session has the connection id {connection}; `kubectl containerssh sessions -A` lists them"
    );
    let mut text = String::new();
    for pod in found {
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        api.delete(&name, &DeleteParams::default())
            .await
            .with_context(|| format!("deleting {namespace}/{name}"))?;
        text.push_str(&format!("pod {namespace}/{name} is being deleted, and the connection ends with it\n"));
    }
    Ok(text)
}

/// Lines of every gateway's log that name the connection.
pub(crate) async fn logs(client: &Client, connection: &str) -> Result<String> {
    let connection = checked(connection)?;
    let api: Api<Pod> = Api::all(client.clone());
    let pods =
        api.list_metadata(&ListParams::default().labels(GATEWAYS)).await.context("listing gateway pods")?;
    let lines: Vec<Vec<String>> = stream::iter(pods.items)
        .map(|pod| async move {
            let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
            let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
            let log = api.logs(&name, &LogParams::default()).await;
            let log = log.with_context(|| format!("reading the log of {namespace}/{name}"))?;
            anyhow::Ok(lines(&log, connection, &format!("{namespace}/{name}")))
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(lines.into_iter().flatten().collect())
}

fn lines(log: &str, connection: &str, pod: &str) -> Vec<String> {
    let about = log.lines().filter(|line| line.contains(connection));
    about.map(|line| format!("{pod}\t{}\n", printable(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let shown = |seconds| age(jiff::SignedDuration::from_secs(seconds));
        assert_eq!(
            [shown(-5), shown(119), shown(120), shown(7200), shown(172_800)],
            ["0s", "119s", "2m", "2h", "2d"]
        );
    }

    #[test]
    fn what_is_no_id_selects_nothing() {
        assert!(checked("0123abcDEF").is_ok());
        for bad in ["", "a,b=c", "a=b", "a b", "a\u{1b}"] {
            assert!(checked(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_lines_about_the_connection_are_shown() {
        let log = "{\"connectionId\":\"abc\"}\n{\"connectionId\":\"abd\"}\n";
        assert_eq!(lines(log, "abc", "ns/pod"), ["ns/pod\t{\"connectionId\":\"abc\"}\n"]);
    }
}
