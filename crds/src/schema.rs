//! Pieces of schema that derive cannot express: bounded maps, selectors, and the pod template.
//!
//! Every collection has a bound. The API server multiplies a CEL rule's cost by the largest size that the
//! schema admits, and refuses the definition if an unbounded one makes the estimate too high.

use schemars::{Schema, SchemaGenerator, json_schema};

use crate::policy::EVENT_TYPES;

/// Labels, annotations and the like: more entries than anyone has had a reason for.
const MAX_ENTRIES: u32 = 64;
/// Kubernetes' bound on a label value.
const MAX_LABEL_VALUE: u32 = 63;
/// One annotation; Kubernetes bounds all of them together at 256 KiB.
const MAX_ANNOTATION_VALUE: u32 = 16_384;
/// Kubernetes' bound on a label key: a DNS name, a slash and a name.
const MAX_LABEL_KEY: u32 = 317;

const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";

pub(crate) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAX_ENTRIES,
        "additionalProperties": {"type": "string", "maxLength": MAX_LABEL_VALUE, "pattern": LABEL_VALUE},
    })
}

pub(crate) fn annotations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAX_ENTRIES,
        "additionalProperties": {"type": "string", "maxLength": MAX_ANNOTATION_VALUE},
    })
}

/// Words of `include`. Strings and no enum type: a word that a later release adds must not make this one unable to
/// read the policy.
pub(crate) fn event_types(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": EVENT_TYPES.len(),
        "x-kubernetes-list-type": "set",
        "items": {"type": "string", "enum": EVENT_TYPES},
    })
}

/// Lists of methods of authentication, each method at most once to a list.
pub(crate) fn method_lists(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 6,
        "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "array",
            "minItems": 1,
            "maxItems": 3,
            "x-kubernetes-list-type": "set",
            "items": {
                "type": "string",
                "maxLength": 32,
                "enum": ["password", "publicKey", "keyboardInteractive"],
            },
        },
    })
}

/// Path of a setting to who decided it.
pub(crate) fn explanations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "additionalProperties": {"type": "string"}})
}

/// Subsystem name to command.
pub(crate) fn subsystems(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 4096},
    })
}

/// `metav1.LabelSelector`, with the bounds and the operators that the published one leaves out.
pub(crate) fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "matchLabels": {
                "description": "Labels that must be present with these values.",
                "type": "object",
                "maxProperties": MAX_ENTRIES,
                "additionalProperties": {"type": "string", "maxLength": MAX_LABEL_VALUE, "pattern": LABEL_VALUE},
            },
            "matchExpressions": {
                "description": "Requirements on labels; all of them must hold.",
                "type": "array",
                "maxItems": MAX_ENTRIES,
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {
                            "description": "The label's key.",
                            "type": "string",
                            "minLength": 1,
                            "maxLength": MAX_LABEL_KEY,
                        },
                        "operator": {
                            "description": "How key and values relate.",
                            "type": "string",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                        },
                        "values": {
                            "description": "At least one for In and NotIn, none for Exists and DoesNotExist.",
                            "type": "array",
                            "maxItems": MAX_ENTRIES,
                            "x-kubernetes-list-type": "atomic",
                            "items": {"type": "string", "maxLength": MAX_LABEL_VALUE},
                        },
                    },
                    "x-kubernetes-validations": [{
                        "rule": "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0 \
                                 : !has(self.values) || self.values.size() == 0",
                        "message": "In and NotIn take values, Exists and DoesNotExist take none",
                    }],
                },
            },
        },
        "x-kubernetes-map-type": "atomic",
    })
}

/// Volumes of whatever version the cluster speaks.
pub(crate) fn volumes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object",
            "required": ["name"],
            "x-kubernetes-preserve-unknown-fields": true,
            "properties": {
                "name": {
                    "description": "The volume's name. Those of the operator's own volumes are taken.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 63,
                    "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                },
            },
            "x-kubernetes-validations": [{
                "rule": "!(self.name in ['config', 'host-keys', 'principals', 'spool']) && !self.name.startsWith('authorized-keys-') && !self.name.startsWith('revoked-keys-')",
                "message": "config, host-keys, principals, spool, authorized-keys-* and revoked-keys-* are names of the operator's own volumes",
            }],
        },
    })
}

/// A `PodSpec` of whatever version the cluster speaks: see [`crate::PodSpecDocument`].
pub(crate) fn pod_spec(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["containers"],
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "containers": {
                "description": "The pod's containers; sessions run in the first, or in the one that consoleContainer names. \
                                Fields as in a Pod: kubectl explain pod.spec.containers.",
                "type": "array",
                "minItems": 1,
                "maxItems": 32,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "x-kubernetes-preserve-unknown-fields": true,
                    "properties": {
                        "name": {
                            "description": "The container's name.",
                            "type": "string",
                            "minLength": 1,
                            "maxLength": 63,
                            "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
                        },
                        "image": {
                            "description": "The container's image.",
                            "type": "string",
                            "maxLength": 1024,
                        },
                    },
                },
            },
        },
    })
}
