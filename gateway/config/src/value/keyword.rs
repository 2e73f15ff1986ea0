//! Settings that are one word of a list.

/// Declares an enum whose variants are words in the configuration file: `Display`, `FromStr`, serde and `ALL`.
///
/// Words that exist in ContainerSSH but not here can be listed with the reason, so that whoever brings such a file
/// learns what to do rather than that the word is unknown. Aliases are other words for the same; they are read, and
/// written as the word itself.
macro_rules! keyword_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)?
        }
        $(aliases { $($alias:literal => $meant:ident),+ $(,)? })?
        $(refused { $($refused:literal => $reason:literal),+ $(,)? })?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant),+
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word in the configuration file.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $word),+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok($name::$variant),)+
                    $($($alias => Ok($name::$meant),)+)?
                    $($($refused => Err(format!("{:?} {}", text, $reason)),)+)?
                    other => Err($crate::value::keyword::unknown(other, &[$($word),+])),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "enum": [$($word),+ $($(, $alias)+)?]})
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as serde::Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use keyword_enum;

/// The message for a word that is not in the list.
#[must_use]
pub fn unknown(found: &str, allowed: &[&str]) -> String {
    const SHOWN: usize = 60;
    let shown: String = found.chars().take(SHOWN).collect();
    let list: Vec<String> = allowed.iter().map(|word| format!("{word:?}")).collect();
    format!("{shown:?} is not one of {}", list.join(", "))
}
