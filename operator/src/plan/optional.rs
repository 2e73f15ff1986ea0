//! Objects of kinds that a cluster may lack: a ServiceMonitor with the Service that it reads, a TCPRoute.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde_json::{Value, json};

use containerssh_crds::{ParentRef, ServiceMonitor, Span, TcpRoute, defaults};

use super::{Inputs, PORT_METRICS, PORT_NAME_METRICS, workload::theirs};
use crate::{
    children::{Child, ChildKind, NAME_LABEL},
    error::Error,
    served::Kinds,
};

/// Tells the Service of the metrics from the gateway's others.
const PURPOSE_LABEL: &str = "containerssh.io/purpose";
/// Domains of labels that the operator keeps to itself.
const OURS: [&str; 2] = ["containerssh.io", "app.kubernetes.io"];

fn monitor(inputs: &Inputs) -> Option<&ServiceMonitor> {
    inputs.spec().metrics.as_ref()?.service_monitor.as_ref()
}

/// The objects, as far as the cluster takes them.
pub fn children(inputs: &Inputs) -> Result<Vec<Child>, Error> {
    let mut children = Vec::new();
    if let Some(wanted) = monitor(inputs).filter(|_| inputs.served.service_monitor) {
        children.push(Child::new(ChildKind::Service, &metrics_service(inputs))?);
        children.push(service_monitor(inputs, wanted)?);
    }
    if let Some(wanted) = inputs.service().tcp_route.filter(|_| inputs.served.tcp_route) {
        children.push(tcp_route(inputs, &wanted)?);
    }
    Ok(children)
}

/// What the cluster lacks of what is asked for, in sentences; None = nothing is asked for.
pub fn missing(inputs: &Inputs) -> Option<Vec<String>> {
    let wanted = Kinds::wanted(inputs.spec());
    let asked = [
        (ChildKind::ServiceMonitor, "metrics.serviceMonitor", "install the Prometheus operator"),
        (ChildKind::TcpRoute, "service.tcpRoute", "install the Gateway API's experimental channel"),
    ]
    .into_iter()
    .filter(|(kind, ..)| wanted.has(*kind));
    let sentences: Vec<Option<String>> = asked
        .map(|(kind, field, mend)| {
            let resource = kind.resource();
            (!inputs.served.has(kind)).then(|| {
                format!(
                    "{field}: this cluster does not serve {} of {}; {mend}, or remove the field",
                    resource.plural, resource.api_version
                )
            })
        })
        .collect();
    (!sentences.is_empty()).then(|| sentences.into_iter().flatten().collect())
}

fn metrics_name(inputs: &Inputs) -> String {
    format!("{}-metrics", inputs.owner.name.name)
}

/// Apart from the Service for SSH: that one may stand in the internet.
fn metrics_service(inputs: &Inputs) -> Service {
    let mut metadata = inputs.meta(&metrics_name(inputs));
    metadata.labels.get_or_insert_default().insert(PURPOSE_LABEL.to_owned(), PORT_NAME_METRICS.to_owned());
    Service {
        metadata,
        spec: Some(ServiceSpec {
            // One address a pod: each has metrics of its own.
            cluster_ip: Some("None".to_owned()),
            selector: Some(inputs.owner.selector_labels()),
            ports: Some(vec![ServicePort {
                name: Some(PORT_NAME_METRICS.to_owned()),
                port: i32::from(PORT_METRICS),
                protocol: Some("TCP".to_owned()),
                target_port: Some(IntOrString::String(PORT_NAME_METRICS.to_owned())),
                ..ServicePort::default()
            }]),
            // A pod that drains still has something to say.
            publish_not_ready_addresses: Some(true),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn service_monitor(inputs: &Inputs, wanted: &ServiceMonitor) -> Result<Child, Error> {
    let mut metadata = inputs.meta(&inputs.owner.name.name);
    metadata.labels.get_or_insert_default().extend(theirs(wanted.labels.clone(), &OURS));
    let interval = wanted.interval.unwrap_or_else(|| Span::from(defaults::METRICS_INTERVAL));
    let spec = json!({
        "selector": {"matchLabels": {
            NAME_LABEL: inputs.owner.name.name,
            PURPOSE_LABEL: PORT_NAME_METRICS,
        }},
        "endpoints": [{
            "port": PORT_NAME_METRICS,
            "interval": interval.to_string(),
            // Under the same name as the chart's PodMonitor gives it, which its rules and dashboard go by.
            "relabelings": [{
                "sourceLabels": ["__meta_kubernetes_pod_label_app_kubernetes_io_instance"],
                "targetLabel": "gateway",
            }],
        }],
    });
    Child::untyped(ChildKind::ServiceMonitor, &metadata, &spec)
}

fn tcp_route(inputs: &Inputs, wanted: &TcpRoute) -> Result<Child, Error> {
    let name = &inputs.owner.name.name;
    let parents: Vec<Value> = wanted.parent_refs.iter().map(parent).collect();
    let port = inputs.service().port.unwrap_or(defaults::SERVICE_PORT);
    let spec = json!({"parentRefs": parents, "rules": [{"backendRefs": [{"name": name, "port": port}]}]});
    Child::untyped(ChildKind::TcpRoute, &inputs.meta(name), &spec)
}

/// Without the fields that are not set: the API server would take a null for a change of its defaults.
fn parent(wanted: &ParentRef) -> Value {
    let mut parent = json!({"name": wanted.name});
    let optional = [
        ("namespace", wanted.namespace.as_ref().map(|namespace| json!(namespace))),
        ("sectionName", wanted.section_name.as_ref().map(|name| json!(name))),
        ("port", wanted.port.map(|port| json!(port))),
    ];
    if let Value::Object(fields) = &mut parent {
        fields.extend(
            optional.into_iter().filter_map(|(key, value)| value.map(|value| (key.to_owned(), value))),
        );
    }
    parent
}
