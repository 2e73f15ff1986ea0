//! The API server itself judges objects by the definitions: what is good passes as it is written, what is bad is refused
//! in words that say where and how to mend it. Nothing is stored.

#![allow(clippy::indexing_slicing, reason = "JSON that lacks a field gives null")]

use anyhow::{Context, Result, bail, ensure};
use containerssh_crds::{AuditPolicy, SSHGateway};
use containerssh_e2e::Cluster;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, ValidationDirective};
use serde_json::Value;

const REFUSED: &str = include_str!("../../crds/tests/objects/refused.yaml");

fn example(name: &str) -> Result<Value> {
    let text = match name {
        "gateway-smallest" => include_str!("../../crds/tests/objects/gateway-smallest.yaml"),
        "gateway-full" => include_str!("../../crds/tests/objects/gateway-full.yaml"),
        "policy-full" => include_str!("../../crds/tests/objects/policy-full.yaml"),
        other => bail!("there is no example {other}"),
    };
    Ok(serde_saphyr::from_str(text)?)
}

/// What `kubectl apply --server-side --dry-run=server --validate=strict` does.
async fn judge(cluster: &Cluster, object: &Value) -> Result<kube::Result<DynamicObject>> {
    let resource = match object["kind"].as_str() {
        Some("SSHGateway") => ApiResource::erase::<SSHGateway>(&()),
        Some("AuditPolicy") => ApiResource::erase::<AuditPolicy>(&()),
        other => bail!("unexpected kind {other:?}"),
    };
    let api = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => {
            Api::<DynamicObject>::namespaced_with(cluster.client.clone(), namespace, &resource)
        }
        None => Api::all_with(cluster.client.clone(), &resource),
    };
    let name = object["metadata"]["name"].as_str().context("metadata.name")?;
    let parameters = PatchParams {
        dry_run: true,
        field_manager: Some("e2e-definitions".to_owned()),
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::default()
    };
    Ok(api.patch(name, &parameters, &Patch::Apply(object)).await)
}

/// RFC 7386, JSON merge patch.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(target) = target {
        for (name, value) in patch {
            if value.is_null() {
                target.remove(name);
            } else {
                merge(target.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

#[tokio::test]
async fn good_objects_pass_and_nothing_of_them_is_lost() -> Result<()> {
    let cluster = Cluster::connect().await?;
    for name in ["gateway-smallest", "gateway-full", "policy-full"] {
        let mut object = example(name)?;
        let kept = judge(&cluster, &object).await?.with_context(|| name.to_owned())?;
        if object["kind"] == "SSHGateway" && object["spec"]["replicas"].is_null() {
            // The one default that the API server sets.
            object["spec"]["replicas"] = 2.into();
        }
        ensure!(kept.data["spec"] == object["spec"], "{name} became {}", kept.data["spec"]);
    }
    Ok(())
}

#[tokio::test]
async fn bad_objects_are_refused_in_words_that_help() -> Result<()> {
    let cluster = Cluster::connect().await?;
    let cases: Vec<Value> = serde_saphyr::from_str(REFUSED)?;
    ensure!(cases.len() > 50, "only {} cases were read", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let mut object = example(case["object"].as_str().context("object")?)?;
        merge(&mut object, &case["patch"]);
        let says = case["says"].as_str().context("says")?;
        match judge(&cluster, &object).await? {
            Ok(_) => wrong.push(format!("passed: {}", case["patch"])),
            Err(kube::Error::Api(status)) if status.message.contains(says) => {}
            Err(error) => wrong.push(format!("{}\n  should say: {says}\n  says: {error}", case["patch"])),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
