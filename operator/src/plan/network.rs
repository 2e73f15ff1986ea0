//! The NetworkPolicy around the gateway pods.
//!
//! In: SSH from anywhere, metrics from pods, health from the operator (the kubelet's probes are exempt everywhere).
//! Out: DNS, the apiserver, the storage, the webhooks, and users' pods where an agent serves them. A NetworkPolicy knows addresses, not names, and those
//! servers' addresses change, so the way out is limited by port: it stops a gateway from reaching a database, not
//! one web server from another.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
        util::intstr::IntOrString,
    },
};

use super::{Inputs, PORT_NAME_HEALTH, PORT_NAME_METRICS, PORT_NAME_SSH, PORT_REDIRECT};

/// The apiserver as a Service, and as kubeadm and most clouds really serve it: policies see the address behind.
const API_SERVER: [u16; 2] = [443, 6443];

/// None when the team switched it off.
pub fn network_policy(inputs: &Inputs) -> Option<NetworkPolicy> {
    let wanted = inputs.spec().network_policy.as_ref();
    if wanted.is_some_and(|wanted| !wanted.enabled) {
        return None;
    }
    let sources = wanted.map(|wanted| wanted.sources.as_slice()).unwrap_or_default();
    let mut ingress = vec![
        NetworkPolicyIngressRule {
            ports: Some(vec![named(PORT_NAME_SSH)]),
            from: (!sources.is_empty()).then(|| sources.iter().map(|cidr| network(cidr)).collect()),
        },
        NetworkPolicyIngressRule {
            ports: Some(vec![named(PORT_NAME_METRICS)]),
            from: Some(vec![namespaces(LabelSelector::default())]),
        },
        NetworkPolicyIngressRule {
            ports: Some(vec![named(PORT_NAME_HEALTH)]),
            from: Some(vec![namespaces(LabelSelector {
                // The apiserver itself keeps this label.
                match_labels: Some(BTreeMap::from([(
                    "kubernetes.io/metadata.name".to_owned(),
                    inputs.operator_namespace.clone(),
                )])),
                ..LabelSelector::default()
            })]),
        },
    ];
    if inputs.has_redirect() {
        // A page for everybody's browser, by way of an ingress that may run on the nodes' own network.
        let port = number("TCP", PORT_REDIRECT);
        ingress.push(NetworkPolicyIngressRule { ports: Some(vec![port]), from: None });
    }
    let mut out: BTreeSet<u16> = API_SERVER.into();
    out.extend(inputs.addresses_called().filter_map(|address| port_of(&address)));
    let mut egress = vec![
        NetworkPolicyEgressRule { ports: Some(vec![number("UDP", 53), number("TCP", 53)]), to: None },
        NetworkPolicyEgressRule {
            ports: Some(out.into_iter().map(|port| number("TCP", port)).collect()),
            to: None,
        },
    ];
    if inputs.spec().backend.kubernetes.agent.is_some() {
        // The agent listens on whatever port is free.
        egress.push(NetworkPolicyEgressRule { ports: None, to: Some(vec![guests(inputs)]) });
    }
    Some(NetworkPolicy {
        metadata: inputs.meta(&inputs.owner.name.name),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(inputs.owner.selector_labels()),
                ..LabelSelector::default()
            }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(ingress),
            egress: Some(egress),
        }),
    })
}

/// The port of an http(s) address that the schema has checked.
fn port_of(url: &str) -> Option<u16> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // An IPv6 address stands in brackets and is full of colons.
    let after_host = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.1,
        None => host.find(':').and_then(|at| host.get(at..)).unwrap_or_default(),
    };
    match after_host.strip_prefix(':') {
        Some(port) => port.parse().ok(),
        None if scheme.eq_ignore_ascii_case("http") => Some(80),
        None => Some(443),
    }
}

fn named(port: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::String(port.to_owned())),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    }
}

fn number(protocol: &str, port: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(i32::from(port))),
        protocol: Some(protocol.to_owned()),
        end_port: None,
    }
}

fn network(cidr: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock { cidr: cidr.to_owned(), except: None }),
        ..NetworkPolicyPeer::default()
    }
}

/// Users' pods, which carry their connection's id.
fn guests(inputs: &Inputs) -> NetworkPolicyPeer {
    let namespace = ("kubernetes.io/metadata.name".to_owned(), inputs.pods_namespace().to_owned());
    NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector {
            match_labels: Some(BTreeMap::from([namespace])),
            ..LabelSelector::default()
        }),
        pod_selector: Some(LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: "containerssh_connection_id".to_owned(),
                operator: "Exists".to_owned(),
                values: None,
            }]),
            ..LabelSelector::default()
        }),
        ip_block: None,
    }
}

fn namespaces(selector: LabelSelector) -> NetworkPolicyPeer {
    NetworkPolicyPeer { namespace_selector: Some(selector), ..NetworkPolicyPeer::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_an_address_is_found_where_it_is_written_or_implied() {
        let cases = [
            ("https://auth.example.com/ssh", Some(443)),
            ("http://minio.storage:9000", Some(9000)),
            ("http://minio", Some(80)),
            ("https://[2001:db8::1]/x", Some(443)),
            ("https://[2001:db8::1]:8443/x", Some(8443)),
            ("https://user@host:444/a:b", Some(444)),
            ("https://host:99999", None),
            ("syslog://logs.example.net:6514", Some(6514)),
        ];
        for (url, port) in cases {
            assert_eq!(port_of(url), port, "{url}");
        }
    }
}
