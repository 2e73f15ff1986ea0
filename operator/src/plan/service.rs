//! The Service that users connect to, and the one that their browsers come back to from an identity provider.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use containerssh_crds::{ExternalTrafficPolicy, ServiceType, defaults};

use super::{Inputs, PORT_NAME_SSH, PORT_REDIRECT};

/// Port of the Service for browsers. The page is served without TLS, for an ingress that has it.
const REDIRECT_PORT: i32 = 80;

/// The Service, named like the gateway: its DNS name is what users type.
pub fn service(inputs: &Inputs) -> Service {
    let wanted = inputs.service();
    let type_ = wanted.type_.unwrap_or_default();
    let mut metadata = inputs.meta(&inputs.owner.name.name);
    if !wanted.annotations.is_empty() {
        metadata.annotations = Some(wanted.annotations);
    }
    // A ClusterIP has no external traffic; the API refuses the field there.
    let external =
        (type_ != ServiceType::ClusterIP).then(|| match wanted.external_traffic_policy.unwrap_or_default() {
            ExternalTrafficPolicy::Local => "Local".to_owned(),
            ExternalTrafficPolicy::Cluster => "Cluster".to_owned(),
        });
    Service {
        metadata,
        spec: Some(ServiceSpec {
            type_: Some(
                match type_ {
                    ServiceType::ClusterIP => "ClusterIP",
                    ServiceType::NodePort => "NodePort",
                    ServiceType::LoadBalancer => "LoadBalancer",
                }
                .to_owned(),
            ),
            external_traffic_policy: external,
            load_balancer_class: wanted.load_balancer_class,
            load_balancer_source_ranges: (!wanted.load_balancer_source_ranges.is_empty())
                .then_some(wanted.load_balancer_source_ranges),
            selector: Some(inputs.owner.selector_labels()),
            ports: Some(vec![ServicePort {
                name: Some(PORT_NAME_SSH.to_owned()),
                port: wanted.port.unwrap_or(defaults::SERVICE_PORT),
                protocol: Some("TCP".to_owned()),
                node_port: wanted.node_port,
                target_port: Some(IntOrString::String(PORT_NAME_SSH.to_owned())),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The Service that an ingress leads browsers to where a login by the authorization code flow ends. Any pod will do: the
/// page only shows what the provider has put into its address.
pub fn redirect(inputs: &Inputs) -> Option<Service> {
    inputs.has_redirect().then(|| Service {
        metadata: inputs.meta(&format!("{}-redirect", inputs.owner.name.name)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(inputs.owner.selector_labels()),
            ports: Some(vec![ServicePort {
                name: Some("http".to_owned()),
                port: REDIRECT_PORT,
                protocol: Some("TCP".to_owned()),
                app_protocol: Some("http".to_owned()),
                target_port: Some(IntOrString::Int(i32::from(PORT_REDIRECT))),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    })
}
