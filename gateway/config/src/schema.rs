//! What the JSON schema says of values that have a form of their own. The rest is derived from the types, and the
//! descriptions are their documentation.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// Says what the schema of a type is.
macro_rules! form_of {
    ($($name:ty => $schema:tt),+ $(,)?) => {
        $(impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })+
    };
}

/// Declares types that only stand for their schemas.
macro_rules! form {
    ($($(#[$meta:meta])* $name:ident => $schema:tt),+ $(,)?) => {
        $($(#[$meta])*
        pub(crate) enum $name {})+

        form_of! { $($name => $schema),+ }
    };
}

form! {
    /// As Go writes durations, or nanoseconds.
    Duration => {"type": ["string", "integer"], "examples": ["60s", "1h30m", "100ms"]},
    /// `address:port`
    Listen => {"type": "string", "examples": ["0.0.0.0:2222", "[::]:2222"]},
    /// A number is understood as well: `1.3` without quotes is one in YAML.
    TlsVersion => {"enum": ["1.2", "1.3", 1.2, 1.3]},
    /// Kubernetes' own type, which its API documents.
    ObjectMeta => {"type": "object", "description": "ObjectMeta of Kubernetes (meta/v1)"},
    /// The same.
    PodSpec => {"type": "object", "description": "PodSpec of Kubernetes (core/v1)"},
    /// Words or syslog's numbers.
    Level => {
        "enum": [
            "debug", "info", "notice", "warning", "error", "crit", "alert", "emerg",
            "7", "6", "5", "4", "3", "2", "1", "0", 7, 6, 5, 4, 3, 2, 1, 0
        ]
    },
    Format => {"enum": ["ljson", "text"]},
}

form_of! {
    crate::ByteSize => {"type": ["string", "integer"], "examples": ["10Gi", "512Mi", 5_242_880]},
    crate::KeyPrefix => {"type": "string", "examples": ["ssh/{namespace}/{year}/{month}/{day}/"]},
    crate::FormatVersion => {"enum": [1, 2]},
}

/// A list of words, or one text with colons between them.
pub(crate) struct Names<T>(std::marker::PhantomData<T>);

impl<T: JsonSchema> JsonSchema for Names<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Names_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let item = generator.subschema_for::<T>();
        json_schema!({"anyOf": [{"type": "array", "items": item}, {"type": "string"}]})
    }
}
