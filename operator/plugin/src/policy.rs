//! What a policy would change: the merge of today's policies beside that of tomorrow's, for every gateway.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use containerssh_crds::{
    AuditPolicy, AuditTier, SSHGateway, matches,
    merge::{self, MergeError, Merged, PolicyInput},
};
use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::Time};
use kube::{Api, Client, ResourceExt, api::ListParams};
use serde_json::Value;

use crate::table::printable;

/// A cluster as far as policies go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cluster {
    pub(crate) policies: Vec<AuditPolicy>,
    pub(crate) gateways: Vec<SSHGateway>,
    /// Labels by namespace.
    pub(crate) namespaces: BTreeMap<String, BTreeMap<String, String>>,
}

impl Cluster {
    async fn read(client: &Client) -> Result<Self> {
        let all = ListParams::default();
        let policies =
            Api::<AuditPolicy>::all(client.clone()).list(&all).await.context("listing AuditPolicies")?;
        let gateways =
            Api::<SSHGateway>::all(client.clone()).list(&all).await.context("listing SSHGateways")?;
        let namespaces = Api::<Namespace>::all(client.clone()).list_metadata(&all).await;
        let namespaces = namespaces.context("listing namespaces")?.items.into_iter();
        Ok(Self {
            policies: policies.items,
            gateways: gateways.items,
            namespaces: namespaces
                .map(|namespace| (namespace.name_any(), namespace.metadata.labels.unwrap_or_default()))
                .collect(),
        })
    }

    /// The settings of one gateway.
    fn settings(&self, gateway: &SSHGateway, baseline: &AuditTier, now: &Time) -> Result<Merged, MergeError> {
        let namespace = gateway.namespace().unwrap_or_default();
        let nothing = BTreeMap::new();
        let pods = gateway.spec.backend.kubernetes.namespace.as_deref();
        let places: Vec<&str> = std::iter::once(namespace.as_str()).chain(pods).collect();
        let covering = self.policies.iter().filter(|policy| {
            let labels = |place: &str| self.namespaces.get(place).unwrap_or(&nothing);
            places.iter().any(|place| matches(&policy.spec, place, labels(place)))
                && policy.spec.exclusion(&namespace, &gateway.name_any(), now).is_none()
        });
        let inputs: Vec<PolicyInput> = covering.map(PolicyInput::from).collect();
        merge::merge(&inputs, gateway.spec.wish().as_ref(), baseline)
    }

    /// With some policies replaced or added, and others gone.
    fn with(&self, policies: &[AuditPolicy], deleted: &[String]) -> Self {
        let mut next = self.clone();
        for policy in policies {
            match next.policies.iter_mut().find(|known| known.name_any() == policy.name_any()) {
                // Age counts in precedence, and an object that is changed keeps its own.
                Some(known) => known.spec = policy.spec.clone(),
                None => next.policies.push(policy.clone()),
            }
        }
        next.policies.retain(|policy| !deleted.contains(&policy.name_any()));
        next
    }
}

/// Runs it.
pub(crate) async fn what_if(
    client: &Client,
    files: &[PathBuf],
    deleted: &[String],
    baseline: Option<&Path>,
) -> Result<String> {
    ensure!(!files.is_empty() || !deleted.is_empty(), "say what would change: --filename, --delete or both");
    let mut policies = Vec::new();
    for file in files {
        policies.extend(read_policies(file)?);
    }
    let baseline = match baseline {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            let tier = serde_saphyr::from_str(&text).with_context(|| file.display().to_string())?;
            merge::over(&tier, &merge::baseline())
        }
        None => merge::baseline(),
    };
    let now = Cluster::read(client).await?;
    for name in deleted {
        ensure!(
            now.policies.iter().any(|policy| policy.name_any() == *name),
            "there is no AuditPolicy {name}"
        );
    }
    Ok(compare(&now, &now.with(&policies, deleted), &baseline, &Time(jiff::Timestamp::now())))
}

fn read_policies(file: &Path) -> Result<Vec<AuditPolicy>> {
    let what = || file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(what)?;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).with_context(what)?;
    let policies = objects.into_iter().filter(|object| !object.is_null());
    policies
        .map(|object| {
            let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
            ensure!(kind == "AuditPolicy", "{}: {kind:?} is no AuditPolicy", file.display());
            serde_json::from_value(object).with_context(what)
        })
        .collect()
}

/// What differs between two clusters, gateway by gateway.
fn compare(before: &Cluster, after: &Cluster, baseline: &AuditTier, now: &Time) -> String {
    let mut text = String::new();
    let (mut same, mut surprising) = (0, false);
    for gateway in &before.gateways {
        let (was, is) = (before.settings(gateway, baseline, now), after.settings(gateway, baseline, now));
        let reported = gateway.status.as_ref().and_then(|status| status.audit.as_ref());
        surprising |= matches!((&was, reported), (Ok(was), Some(reported)) if was.hash != reported.hash);
        let lines = differences(&was, &is);
        if lines.is_empty() {
            same += 1;
            continue;
        }
        let name = format!("{}/{}", gateway.namespace().unwrap_or_default(), gateway.name_any());
        text.push_str(&format!("{name}\n"));
        lines.iter().for_each(|line| text.push_str(&format!("  {}\n", printable(line))));
    }
    text.push_str(&format!("{same} of {} gateways would stay as they are\n", before.gateways.len()));
    if surprising {
        text.push_str(
            "note: the operator computes other settings for some gateways than this program does today: name its baseline (--baseline), or wait until it has taken up the last change\n",
        );
    }
    text
}

fn differences(was: &Result<Merged, MergeError>, is: &Result<Merged, MergeError>) -> Vec<String> {
    match (was, is) {
        (Ok(was), Ok(is)) => {
            let (old, new) = (leaves(was), leaves(is));
            let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            let mut lines: Vec<String> = (paths.into_iter())
                .filter(|path| old.get(*path) != new.get(*path))
                .map(|path| {
                    let show = |leaves: &BTreeMap<String, Value>| {
                        leaves.get(path).map_or_else(|| "-".to_owned(), Value::to_string)
                    };
                    let who = is.why.get(path).map(|who| format!("   ({who})")).unwrap_or_default();
                    format!("{path}: {} -> {}{who}", show(&old), show(&new))
                })
                .collect();
            let relaxed = is.effective.relaxations(&was.effective);
            if !relaxed.is_empty() {
                lines.push(format!("LAXER THAN NOW: {}", relaxed.join(", ")));
            }
            let told = is.conflicts.iter().filter(|conflict| !was.conflicts.contains(conflict));
            lines.extend(told.map(|conflict| format!("conflict: {conflict}")));
            lines
        }
        (_, Err(error)) if was.as_ref().err().map(ToString::to_string) != Some(error.to_string()) => {
            vec![format!("NO RESULT, keeps its last settings: {error}")]
        }
        (Err(_), Ok(_)) => vec!["has a result again".to_owned()],
        _ => Vec::new(),
    }
}

/// The settings by the paths under which their reasons stand.
fn leaves(merged: &Merged) -> BTreeMap<String, Value> {
    let whole = serde_json::to_value(&merged.effective).unwrap_or_default();
    let at = |path: &str| path.split('.').try_fold(&whole, |value, key| value.get(key)).cloned();
    merged.why.keys().filter_map(|path| Some((path.clone(), at(path)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> AuditPolicy {
        serde_saphyr::from_str(&format!("apiVersion: containerssh.io/v1alpha1\nkind: AuditPolicy\n{text}"))
            .unwrap()
    }

    fn cluster() -> Cluster {
        let gateway = |namespace: &str| -> SSHGateway {
            serde_json::from_value(serde_json::json!({
                "apiVersion": "containerssh.io/v1alpha1", "kind": "SSHGateway",
                "metadata": {"name": "dev", "namespace": namespace},
                "spec": {
                    "authentication": {"password": {"webhook": {"url": "https://a"}}},
                    "backend": {"kubernetes": {"podTemplate": {"spec": {"containers": [{"name": "a"}]}}}},
                },
            }))
            .unwrap()
        };
        Cluster {
            policies: vec![policy(
                "metadata: {name: calm}\nspec: {namespaces: [a], enforce: {onFailure: Deny, sessions: {maxDuration: 8h}}}",
            )],
            gateways: vec![gateway("a"), gateway("b")],
            namespaces: [("a".to_owned(), BTreeMap::new()), ("b".to_owned(), BTreeMap::new())].into(),
        }
    }

    fn shown(after: &Cluster) -> String {
        let now = Time(jiff::Timestamp::UNIX_EPOCH);
        compare(&cluster(), after, &merge::baseline(), &now)
    }

    #[test]
    fn what_changes_is_shown_with_who_decides_it_and_nothing_else() {
        let longer = policy(
            "metadata: {name: calm}\nspec: {namespaces: [a], enforce: {onFailure: Deny, sessions: {maxDuration: 4h}}}",
        );
        let text = shown(&cluster().with(&[longer], &[]));
        assert_eq!(
            text,
            "a/dev\n  sessions.maxDuration: \"8h\" -> \"4h\"   (AuditPolicy calm (enforce))\n1 of 2 gateways would stay as they are\n"
        );
    }

    #[test]
    fn what_gets_laxer_is_said_loudly() {
        let text = shown(&cluster().with(&[], &["calm".to_owned()]));
        assert!(text.contains("LAXER THAN NOW: sessions.maxDuration"), "{text}");
    }

    #[test]
    fn a_policy_that_leaves_no_result_is_found_out_before_it_is_applied() {
        let nowhere = policy(
            "metadata: {name: new}\nspec: {namespaceSelector: {}, enforce: {intercept: {stdin: Require}}}",
        );
        let text = shown(&cluster().with(&[nowhere], &[]));
        assert_eq!(text.matches("NO RESULT, keeps its last settings").count(), 2, "{text}");
    }

    #[test]
    fn the_same_again_changes_nothing() {
        let text = shown(&cluster().with(&cluster().policies, &[]));
        assert_eq!(text, "2 of 2 gateways would stay as they are\n");
    }
}
