//! How gateways are, from their status.

use anyhow::{Context, Result};
use containerssh_crds::{SSHGateway, conditions};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, Client, ResourceExt, api::ListParams};

use crate::table::{printable, table};

fn api(client: &Client, namespace: Option<&str>) -> Api<SSHGateway> {
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// One line for each gateway.
pub(crate) async fn status(client: &Client, namespace: Option<&str>) -> Result<String> {
    let gateways = api(client, namespace).list(&ListParams::default()).await.context("listing gateways")?;
    let rows: Vec<_> = gateways.iter().map(row).collect();
    let heads =
        ["NAMESPACE", "NAME", "READY", "PODS", "DRAINING", "SESSIONS", "ADDRESS", "POLICY", "BECAUSE"];
    Ok(table(&heads, &rows))
}

fn row(gateway: &SSHGateway) -> Vec<String> {
    let status = gateway.status.clone().unwrap_or_default();
    let ready = conditions::find(&status.conditions, conditions::READY);
    let replicas = status.replicas.unwrap_or_default();
    let draining = match (replicas.draining, replicas.draining_sessions) {
        (Some(pods), Some(sessions)) if pods > 0 => format!("{pods} ({sessions} sessions)"),
        _ => "0".to_owned(),
    };
    let number = |number: Option<i32>| number.map_or_else(|| "?".to_owned(), |number| number.to_string());
    vec![
        gateway.namespace().unwrap_or_default(),
        gateway.name_any(),
        ready.map_or_else(|| "Unknown".to_owned(), |ready| word(ready, gateway)),
        format!("{}/{}", replicas.ready, replicas.desired),
        draining,
        number(status.sessions),
        status.address.unwrap_or_default(),
        status.audit.map(|audit| audit.policy).unwrap_or_default(),
        because(&status.conditions),
    ]
}

/// A condition that speaks of an older spec says nothing of this one.
fn word(condition: &Condition, gateway: &SSHGateway) -> String {
    if condition.observed_generation == gateway.metadata.generation {
        condition.status.clone()
    } else {
        "Unknown".to_owned()
    }
}

/// What is under way or amiss.
fn because(all: &[Condition]) -> String {
    let abnormal = [conditions::STALLED, conditions::RECONCILING]
        .into_iter()
        .find_map(|kind| conditions::find(all, kind).filter(|condition| condition.status == "True"));
    abnormal.map(|condition| printable(&condition.message)).unwrap_or_default()
}

/// Every setting with who decided it.
pub(crate) async fn explain(client: &Client, namespace: &str, name: &str) -> Result<String> {
    let gateway = api(client, Some(namespace)).get(name).await.context("reading the gateway")?;
    let audit = (gateway.status.and_then(|status| status.audit))
        .context("the policies have given no result yet; see the condition AuditPolicyResolved")?;
    let effective = serde_json::to_value(&audit.effective)?;
    let rows: Vec<_> = (audit.why.iter())
        .map(|(path, who)| {
            let value = path.split('.').fold(&effective, |value, key| value.get(key).unwrap_or(value));
            // What was taken whole from one has its origin in the column before.
            let value = match value.as_object() {
                Some(map) => {
                    let kept = map.iter().filter(|(key, _)| *key != "from");
                    serde_json::Value::Object(kept.map(|(k, v)| (k.clone(), v.clone())).collect())
                }
                None => value.clone(),
            };
            // Values last: a bucket with its certificates is long.
            vec![path.clone(), printable(who), printable(&value.to_string())]
        })
        .collect();
    let mut text = table(&["SETTING", "DECIDED BY", "VALUE"], &rows);
    for excluded in &audit.exclusions {
        let (policy, reason) = (&excluded.policy, printable(&excluded.reason));
        text.push_str(&format!(
            "\nAuditPolicy {policy} does not hold here until {}: {reason}\n",
            excluded.expires_at.0
        ));
    }
    Ok(text)
}
