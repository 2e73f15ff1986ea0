//! What the charts render, as Helm renders it: no rights beyond need, and values that say what is wrong with them.

#![allow(clippy::indexing_slicing, reason = "JSON that lacks a field gives null")]

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

const CHARTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts");

/// `helm template` with these arguments: the objects, or what it says against them.
async fn render(chart: &str, arguments: &[&str]) -> Result<Result<Vec<Value>, String>> {
    let output = Command::new("helm")
        .args(["template", "release", "--namespace", "system"])
        .arg(format!("{CHARTS}/{chart}"))
        .args(arguments)
        .output()
        .await
        .context("helm is needed")?;
    if !output.status.success() {
        return Ok(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let objects = serde_saphyr::from_multiple(&String::from_utf8(output.stdout)?)?;
    Ok(Ok(objects))
}

async fn operator(arguments: &[&str]) -> Result<Vec<Value>> {
    render("containerssh-operator", arguments).await?.map_err(anyhow::Error::msg)
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn rules<'a>(roles: &[&'a Value]) -> Vec<&'a Value> {
    roles.iter().filter_map(|role| role["rules"].as_array()).flatten().collect()
}

fn mentions(list: &Value, word: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|item| item == word))
}

#[tokio::test]
async fn no_role_has_a_wildcard_or_may_change_a_policy() -> Result<()> {
    let objects = operator(&[]).await?;
    let roles: Vec<_> = [of_kind(&objects, "ClusterRole"), of_kind(&objects, "Role")].concat();
    ensure!(rules(&roles).len() > 15, "only {} rules", rules(&roles).len());
    for role in roles {
        let name = role["metadata"]["name"].as_str().unwrap_or_default();
        for rule in rules(&[role]) {
            for field in ["apiGroups", "resources", "verbs"] {
                ensure!(!mentions(&rule[field], "*"), "{name}: a wildcard in {rule}");
            }
            if mentions(&rule["resources"], "auditpolicies") && !name.ends_with("auditpolicy-editor") {
                for verb in ["create", "update", "patch", "delete"] {
                    ensure!(!mentions(&rule["verbs"], verb), "{name} may {verb} policies");
                }
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn roles_of_namespace_owners_never_include_policies() -> Result<()> {
    let objects = operator(&[]).await?;
    let aggregated: Vec<_> = of_kind(&objects, "ClusterRole")
        .into_iter()
        .filter(|role| {
            let labels = role["metadata"]["labels"].as_object();
            labels.is_some_and(|labels| labels.keys().any(|key| key.contains("/aggregate-to-")))
        })
        .collect();
    ensure!(aggregated.len() == 2, "{} roles are aggregated", aggregated.len());
    for rule in rules(&aggregated) {
        ensure!(!rule["resources"].to_string().contains("auditpolicies"), "{rule}");
    }
    Ok(())
}

#[tokio::test]
async fn an_operator_of_some_namespaces_has_no_rights_in_others() -> Result<()> {
    let objects = operator(&["--set", "watchNamespaces={a,b}", "--set", "clusterRoles.create=false"]).await?;
    for rule in rules(&of_kind(&objects, "ClusterRole")) {
        let resources = &rule["resources"];
        let allowed = ["auditpolicies", "auditpolicies/status", "namespaces"];
        ensure!(allowed.iter().any(|name| mentions(resources, name)), "cluster-wide: {rule}");
    }
    let mut homes: Vec<_> = of_kind(&objects, "Role")
        .into_iter()
        .filter(|role| role["rules"].to_string().contains("pods/exec"))
        .filter_map(|role| role["metadata"]["namespace"].as_str())
        .collect();
    homes.sort_unstable();
    ensure!(homes == ["a", "b"], "{homes:?}");
    let arguments =
        of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    ensure!(
        mentions(&arguments, "--watch-namespace=a") && mentions(&arguments, "--watch-namespace=b"),
        "{arguments}"
    );
    Ok(())
}

#[tokio::test]
async fn values_that_make_no_sense_are_refused_by_name() -> Result<()> {
    for (value, says) in [
        ("replicas=two", "/replicas"),
        ("noPolicy=maybe", "/noPolicy"),
        ("colour=blue", "'colour' not allowed"),
        ("image.tag=a b", "/image/tag"),
        ("image.digest=abc", "/image/digest"),
        ("image.repository=", "/image/repository"),
        ("gateway.image.pullPolicy=Always", "'pullPolicy' not allowed"),
        ("watchNamespaces={A}", "/watchNamespaces/0"),
        ("log.level=loud", "/log/level"),
        ("serviceAccount.create=true", "'create' not allowed"),
    ] {
        match render("containerssh-operator", &["--set-string", value]).await? {
            Ok(_) => anyhow::bail!("{value} was taken"),
            Err(error) => ensure!(error.contains(says), "{value}: {error}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn definitions_stay_after_an_uninstall_unless_the_user_says_otherwise() -> Result<()> {
    const KEEP: &str = "/metadata/annotations/helm.sh~1resource-policy";
    for (arguments, kept) in [(&[][..], true), (&["--set", "keep=false"][..], false)] {
        let objects = render("containerssh-crds", arguments).await?.map_err(anyhow::Error::msg)?;
        ensure!(objects.len() == 2, "{} objects", objects.len());
        for object in &objects {
            ensure!(
                object.pointer(KEEP).is_some_and(|policy| policy == "keep") == kept,
                "{}",
                object["metadata"]
            );
        }
    }
    Ok(())
}
