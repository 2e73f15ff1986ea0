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
        ("gateway.allowedImages={a b}", "/gateway/allowedImages/0"),
        ("gateway.allowedImages={a*b}", "/gateway/allowedImages/0"),
        ("log.level=loud", "/log/level"),
        ("serviceAccount.create=true", "'create' not allowed"),
        ("admission.enabled=yes", "/admission/enabled"),
        ("admission.trustedUsers={a'b}", "/admission/trustedUsers/0"),
        ("baseline.colour=blue", "'colour' not allowed"),
        ("baseline.onFailure=Ignore", "/baseline/onFailure"),
        ("monitoring.rules.queueDepth=many", "/monitoring/rules/queueDepth"),
        ("monitoring.monitors.interval=often", "/monitoring/monitors/interval"),
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

#[tokio::test]
async fn admission_is_on_unless_the_user_says_otherwise_and_refuses_when_in_doubt() -> Result<()> {
    let objects = operator(&[]).await?;
    let policies = of_kind(&objects, "ValidatingAdmissionPolicy");
    let bindings = of_kind(&objects, "ValidatingAdmissionPolicyBinding");
    ensure!(policies.len() >= 6 && policies.len() == bindings.len(), "{} policies", policies.len());
    for policy in &policies {
        ensure!(policy["spec"]["failurePolicy"] == "Fail", "{}", policy["metadata"]["name"]);
        let bound = bindings.iter().find(|b| b["spec"]["policyName"] == policy["metadata"]["name"]);
        let bound = bound.with_context(|| format!("{} is not bound", policy["metadata"]["name"]))?;
        ensure!(bound["spec"]["validationActions"] == serde_json::json!(["Deny"]), "{bound}");
        // The operator itself goes on working; where pods borrow an account, nobody is trusted.
        let text = policy["spec"].to_string();
        let trusts = text.contains("system:serviceaccount:system:release-containerssh-operator");
        ensure!(
            trusts || policy["metadata"]["name"].as_str().is_some_and(|name| name.ends_with("-accounts")),
            "{text}"
        );
    }
    let off = operator(&["--set", "admission.enabled=false"]).await?;
    ensure!(of_kind(&off, "ValidatingAdmissionPolicy").is_empty(), "it cannot be switched off");
    let some = operator(&["--set", "watchNamespaces={a,b}"]).await?;
    for binding in of_kind(&some, "ValidatingAdmissionPolicyBinding") {
        let values = &binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"][0]["values"];
        ensure!(*values == serde_json::json!(["a", "b"]), "{binding}");
    }
    Ok(())
}

#[tokio::test]
async fn a_baseline_reaches_the_operator_and_its_change_replaces_the_pods() -> Result<()> {
    let digest = |objects: &[Value]| {
        of_kind(objects, "Deployment")[0]["spec"]["template"]["metadata"]["annotations"].clone()
    };
    let plain = operator(&[]).await?;
    let deny = operator(&["--set", "baseline.onFailure=Deny"]).await?;
    let allow = operator(&["--set", "baseline.onFailure=Allow"]).await?;
    ensure!(digest(&deny) != digest(&allow) && digest(&deny) != digest(&plain), "{}", digest(&deny));
    let map = of_kind(&deny, "ConfigMap");
    ensure!(map.len() == 1 && map[0]["data"]["baseline.yaml"] == "onFailure: Deny\n", "{map:?}");
    let pod = &of_kind(&deny, "Deployment")[0]["spec"]["template"]["spec"];
    let arguments = &pod["containers"][0]["args"];
    let path = pod["containers"][0]["volumeMounts"][0]["mountPath"].as_str().context("a mount")?;
    ensure!(mentions(arguments, &format!("--baseline={path}/baseline.yaml")), "{arguments}");
    ensure!(pod["volumes"][0]["configMap"]["name"] == map[0]["metadata"]["name"], "{pod}");
    ensure!(of_kind(&plain, "ConfigMap").is_empty(), "a baseline that nobody asked for");
    Ok(())
}

/// Everything that stands between `containerssh_` and the end of the word.
fn metric_names(text: &str) -> std::collections::BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("containerssh_"))
        .map(|word| word.trim_end_matches("_bucket").to_owned())
        .collect()
}

/// Counters with labels are shown from their first event on; a healthy gateway has none of these.
const SHOWN_WHEN_THEY_HAPPEN: [&str; 8] = [
    "containerssh_audit_upload_failures_total",
    "containerssh_audit_stdout_bytes_total",
    "containerssh_audit_events_sent_total",
    "containerssh_audit_events_dropped_total",
    "containerssh_audit_events_delay_seconds",
    "containerssh_auth_failures_total",
    "containerssh_operator_reconcile_errors_total",
    "containerssh_audit_io_bytes_total",
];

#[tokio::test]
async fn alerts_and_dashboard_speak_of_metrics_that_exist() -> Result<()> {
    let all = ["monitors", "rules", "dashboard"].map(|part| format!("monitoring.{part}.enabled=true"));
    let flags: Vec<&str> = all.iter().flat_map(|flag| ["--set", flag.as_str()]).collect();
    let objects = operator(&flags).await?;
    let rule = of_kind(&objects, "PrometheusRule");
    let alerts: Vec<&Value> = rule[0]["spec"]["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|g| g["rules"].as_array())
        .flatten()
        .collect();
    ensure!(alerts.len() >= 12, "{} alerts", alerts.len());
    for alert in &alerts {
        for field in
            ["/alert", "/expr", "/labels/severity", "/annotations/summary", "/annotations/description"]
        {
            ensure!(alert.pointer(field).is_some_and(Value::is_string), "{field} is missing: {alert}");
        }
    }
    let dashboards = of_kind(&objects, "ConfigMap");
    let dashboard = dashboards[0]["data"]["containerssh.json"].as_str().context("a dashboard")?;
    let parsed: Value = serde_json::from_str(dashboard)?;
    ensure!(parsed["panels"].as_array().is_some_and(|panels| panels.len() > 15), "few panels");
    let expressions: String =
        alerts.iter().filter_map(|alert| alert["expr"].as_str()).collect::<Vec<_>>().join(" ");
    let mut named = metric_names(&expressions);
    named.extend(metric_names(dashboard));

    // A gateway that has served a session, and the operator.
    let shared = containerssh_e2e::fixture::shared("metrics", serde_json::json!({})).await?;
    shared.login.run("true").await?.expect_code(0)?;
    let pods = shared.namespace.pods("app.kubernetes.io/name=containerssh-gateway").await?;
    let system = containerssh_e2e::Namespace {
        cluster: shared.cluster.clone(),
        name: shared.cluster.environment.operator_namespace.clone(),
    };
    let operators = system.pods("app.kubernetes.io/name=containerssh-operator").await?;
    let mut known = std::collections::BTreeSet::new();
    for pod in pods.iter().chain(&operators) {
        let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
        let (Some(namespace), Some(name)) = (namespace, name) else { continue };
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:9100/proxy/metrics");
        let output = Command::new("kubectl").args(["get", "--raw", &path]).output().await?;
        ensure!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        known.extend(metric_names(&String::from_utf8_lossy(&output.stdout)));
    }
    let unknown: Vec<_> = named
        .iter()
        .filter(|name| !known.contains(*name) && !SHOWN_WHEN_THEY_HAPPEN.contains(&name.as_str()))
        .collect();
    ensure!(unknown.is_empty(), "nobody measures {unknown:?}; what there is: {known:?}");
    Ok(())
}

type Rights = std::collections::BTreeSet<(String, String, String)>;

/// Each verb on each resource of these rules; names of single objects stand behind the resource.
fn rights<'a>(rules: impl IntoIterator<Item = &'a Value>) -> Rights {
    let mut found = Rights::new();
    let words = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    for rule in rules {
        let named = if rule["resourceNames"].is_array() { " named like the release" } else { "" };
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    found.insert((group.clone(), format!("{resource}{named}"), verb));
                }
            }
        }
    }
    found
}

/// The rights that a section of docs/permissions.md lists.
fn documented(heading: &str) -> Result<Rights> {
    let text = std::fs::read_to_string(format!("{CHARTS}/../docs/permissions.md"))?;
    let section =
        text.split("\n## ").find_map(|section| section.strip_prefix(heading)).context("the section")?;
    let mut found = Rights::new();
    for row in section.lines().filter(|line| line.starts_with("| ") && !line.contains("API group")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        ensure!(cells.len() == 6 && !cells[4].is_empty(), "a row without a reason: {row}");
        let group = match cells[1].trim_matches('`') {
            "core" => String::new(),
            group => group.to_owned(),
        };
        for resource in cells[2].split(", ") {
            for verb in cells[3].split(", ") {
                found.insert((group.clone(), resource.replace('`', ""), verb.to_owned()));
            }
        }
    }
    Ok(found)
}

#[tokio::test]
async fn every_right_of_the_operator_is_documented_with_its_reason() -> Result<()> {
    let some = operator(&["--set", "watchNamespaces={a}", "--set", "clusterRoles.create=false"]).await?;
    let all = operator(&["--set", "clusterRoles.create=false"]).await?;
    let in_namespace = |objects: &[Value], namespace: &str| -> Rights {
        let roles = of_kind(objects, "Role");
        let here: Vec<_> =
            roles.into_iter().filter(|role| role["metadata"]["namespace"] == namespace).collect();
        rights(rules(&here))
    };
    let cluster = rights(rules(&of_kind(&some, "ClusterRole")));
    for (heading, found) in [
        ("Operator, in the whole cluster", &cluster),
        ("Operator, where it manages gateways", &in_namespace(&some, "a")),
        ("Operator, where it runs", &in_namespace(&some, "system")),
        ("Operator, in the namespace `default`", &in_namespace(&some, "default")),
    ] {
        let documented = documented(heading)?;
        let undocumented: Vec<_> = found.difference(&documented).collect();
        let gone: Vec<_> = documented.difference(found).collect();
        ensure!(
            !found.is_empty() && undocumented.is_empty() && gone.is_empty(),
            "{heading}: {undocumented:?} {gone:?}"
        );
    }
    // Where it manages all namespaces, the same and no more.
    let everywhere = rights(rules(&of_kind(&all, "ClusterRole")));
    ensure!(everywhere == cluster.union(&in_namespace(&some, "a")).cloned().collect(), "{everywhere:?}");
    Ok(())
}

/// `UPDATE_KUSTOMIZE=1` writes the file anew.
#[tokio::test]
async fn the_kustomize_base_is_the_chart() -> Result<()> {
    let output = Command::new("helm")
        .args(["template", "containerssh-operator", "--namespace", "containerssh-system", "--skip-tests"])
        .arg(format!("{CHARTS}/containerssh-operator"))
        .output()
        .await?;
    let rendered = String::from_utf8(output.stdout)?;
    let path = format!("{CHARTS}/kustomize/operator.yaml");
    if std::env::var_os("UPDATE_KUSTOMIZE").is_some() {
        std::fs::write(&path, &rendered)?;
    }
    ensure!(
        std::fs::read_to_string(&path)? == rendered,
        "charts/kustomize/operator.yaml is not what the chart renders"
    );
    let output = Command::new("kubectl").args(["kustomize", &format!("{CHARTS}/kustomize")]).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let objects: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout)?)?;
    let expected = serde_saphyr::from_multiple::<Value>(&rendered)?.len();
    ensure!(of_kind(&objects, "CustomResourceDefinition").len() == 2, "no definitions");
    ensure!(
        of_kind(&objects, "Namespace").len() == 1 && objects.len() == expected + 3,
        "{} objects",
        objects.len()
    );
    Ok(())
}

#[tokio::test]
async fn images_that_gateways_may_name_reach_the_operator() -> Result<()> {
    let objects = operator(&["--set", "gateway.allowedImages={mirror/gw:1,own/*}"]).await?;
    let arguments = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"];
    for flag in ["--allow-gateway-image=mirror/gw:1", "--allow-gateway-image=own/*"] {
        ensure!(mentions(arguments, flag), "{arguments}");
    }
    Ok(())
}

#[tokio::test]
async fn the_chart_can_be_tried_by_the_operators_own_image() -> Result<()> {
    let objects = operator(&["--set", "image.tag=v7"]).await?;
    let tests: Vec<&Value> = (of_kind(&objects, "Pod").into_iter())
        .filter(|pod| pod["metadata"]["annotations"]["helm.sh/hook"] == "test")
        .collect();
    ensure!(tests.len() == 1, "{} test pods", tests.len());
    let container = &tests[0]["spec"]["containers"][0];
    let deployment = of_kind(&objects, "Deployment")[0];
    ensure!(container["image"] == deployment["spec"]["template"]["spec"]["containers"][0]["image"]);
    // Where it asks, the operator's pods answer, and the pod that asks is none of them.
    let url = container["args"][1].as_str().unwrap_or_default();
    let services = of_kind(&objects, "Service");
    let asked = services.iter().find(|service| {
        service["metadata"]["name"]
            .as_str()
            .is_some_and(|name| url.contains(&format!("//{name}.system.svc:8080/")))
    });
    let selector = &asked.with_context(|| format!("no Service of {url}"))?["spec"]["selector"];
    ensure!(*selector == deployment["spec"]["selector"]["matchLabels"], "{selector}");
    let label = "app.kubernetes.io/name";
    ensure!(
        tests[0]["metadata"]["labels"][label] != selector[label],
        "the Service takes the test for an operator"
    );
    Ok(())
}
