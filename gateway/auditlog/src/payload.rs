//! Every kind of record: one table from which type, codec and JSON follow.
//!
//! A line gives the type code, the variant, the reference's `typeId` and `typeName`, and the payload's fields with the
//! keys they have in a file. The keys are a wire format: their case is as the reference writes it (some are in
//! CamelCase, because its structs name no key there). Names after `|` are read as well: the published FORMAT text
//! names some fields otherwise. Letter case never matters when reading.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::cbor::value::Value;
use crate::cbor::{self, NULL, major};
use crate::field::{Field, Mismatch};
use crate::message::{Answer, IoStream, Question};

/// Why a payload of a known type cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadPayload {
    NotAMap,
    Field { key: &'static str, expected: &'static str },
}

macro_rules! payloads {
    ($(
        $(#[doc = $doc:literal])*
        $code:literal $name:ident $id:literal $title:literal
        $( { $( $field:ident : $type:ty = $key:literal $(| $alias:literal)* ),+ $(,)? } )? ;
    )+) => {
        /// What happened: the type of a record and its fields.
        ///
        /// Common fields: `request_id` counts the requests of a channel (or of the gateway, for global requests);
        /// `columns` and `rows` are in characters, `width` and `height` in pixels (RFC 4254 section 6.2);
        /// `password: None` means "not recorded". Text is valid UTF-8 by construction: see [`crate::text::lossy`].
        ///
        /// `Debug` leaves out the content of byte strings and answers: passwords and what users type.
        #[derive(Clone, PartialEq)]
        pub enum Payload {
            $(
                $(#[doc = $doc])*
                #[doc = concat!("\n\nType ", stringify!($code), ".")]
                $name $( { $(
                    #[doc = concat!("`", $key, "` in a file.")]
                    $field: $type,
                )+ } )?,
            )+
            /// A type that this version does not know. Only readers meet it; writing it gives back what was read.
            Unknown {
                /// The type code.
                type_code: u32,
                /// Whatever stands in the record.
                payload: Value,
            },
        }

        impl Payload {
            /// The codes of all types that are known here, ascending.
            pub const TYPE_CODES: &[u32] = &[$( $code ),+];

            /// The number that stands for the type in a file.
            #[must_use]
            pub const fn type_code(&self) -> u32 {
                match self {
                    $( Self::$name { .. } => $code, )+
                    Self::Unknown { type_code, .. } => *type_code,
                }
            }

            /// The type's stable name, as the reference decoder prints it (`typeId`).
            #[must_use]
            pub const fn type_id(&self) -> &'static str {
                match self {
                    $( Self::$name { .. } => $id, )+
                    Self::Unknown { .. } => "invalid",
                }
            }

            /// The type in words, as the reference decoder prints it (`typeName`).
            #[must_use]
            pub const fn type_name(&self) -> &'static str {
                match self {
                    $( Self::$name { .. } => $title, )+
                    Self::Unknown { .. } => "invalid",
                }
            }

            /// Appends the payload as it stands in a record: a map, or null for a type without fields.
            pub(crate) fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(
                        Self::$name $( { $( $field ),+ } )? => {
                            let fields: &[&str] = &[ $( $( $key ),+ )? ];
                            if fields.is_empty() {
                                out.push(NULL);
                            } else {
                                cbor::head(out, major::MAP, fields.len() as u64);
                            }
                            $( $(
                                cbor::text(out, $key);
                                Field::encode($field, out);
                            )+ )?
                        }
                    )+
                    Self::Unknown { payload, .. } => payload.encode(out),
                }
            }

            /// Reads the payload of a record of this type. Missing fields are empty, unknown ones are ignored.
            pub(crate) fn decode(type_code: u32, payload: &Value) -> Result<Self, BadPayload> {
                match type_code {
                    $(
                        $code => Ok(Self::$name $( {
                            $( $field: field(payload, &[$key $(, $alias)*])? ),+
                        } )?),
                    )+
                    _ => Ok(Self::Unknown { type_code, payload: payload.clone() }),
                }
            }
        }

        impl Serialize for Payload {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(
                        Self::$name $( { $( $field ),+ } )? => {
                            let fields: &[&str] = &[ $( $( $key ),+ )? ];
                            if fields.is_empty() {
                                return serializer.serialize_none();
                            }
                            #[allow(unused_mut, reason = "not used by types without fields")]
                            let mut map = serializer.serialize_map(Some(fields.len()))?;
                            $( $( map.serialize_entry($key, &Field::json($field))?; )+ )?
                            map.end()
                        }
                    )+
                    Self::Unknown { payload, .. } => payload.serialize(serializer),
                }
            }
        }

        impl fmt::Debug for Payload {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(
                        Self::$name $( { $( $field ),+ } )? => f
                            .debug_struct(stringify!($name))
                            $( $( .field(stringify!($field), &Field::shown($field)) )+ )?
                            .finish(),
                    )+
                    Self::Unknown { type_code, .. } => {
                        f.debug_struct("Unknown").field("type_code", type_code).finish_non_exhaustive()
                    }
                }
            }
        }

    };
}

fn field<T: Field>(payload: &Value, names: &[&'static str]) -> Result<T, BadPayload> {
    match payload {
        Value::Map(_) => {
            let value = names.iter().find_map(|name| payload.get(name)).unwrap_or(&Value::Null);
            T::decode(value).map_err(|Mismatch { expected }| BadPayload::Field {
                key: names.first().copied().unwrap_or_default(),
                expected,
            })
        }
        // The published text gives some of these types no payload at all.
        Value::Null => T::decode(&Value::Null)
            .map_err(|Mismatch { expected }| BadPayload::Field { key: "payload", expected }),
        _ => Err(BadPayload::NotAMap),
    }
}

payloads! {
    /// A client connected over TCP.
    0 Connect "connect" "Connect" {
        remote_addr: String = "remoteAddr",
        country: String = "country",
    };
    /// The connection ended. The last record of a complete log.
    1 Disconnect "disconnect" "Disconnect";

    /// A password was offered.
    100 AuthPassword "auth_password" "Password authentication" {
        username: String = "username",
        password: Option<Bytes> = "password",
    };
    /// The password was accepted.
    101 AuthPasswordSuccessful "auth_password_successful" "Password authentication successful" {
        username: String = "username",
        password: Option<Bytes> = "password",
    };
    /// The password was rejected.
    102 AuthPasswordFailed "auth_password_failed" "Password authentication failed" {
        username: String = "username",
        password: Option<Bytes> = "password",
    };
    /// Nobody could say whether the password is right.
    103 AuthPasswordBackendError "auth_password_backend_error" "Password authentication backend error" {
        username: String = "username",
        password: Option<Bytes> = "password",
        reason: String = "reason",
    };
    /// A public key was offered, in authorized_keys form.
    104 AuthPubKey "auth_pubkey" "Public key authentication" {
        username: String = "username",
        key: String = "key",
    };
    /// The key was accepted and its possession proven.
    105 AuthPubKeySuccessful "auth_pubkey_successful" "Public key authentication successful" {
        username: String = "username",
        key: String = "key",
    };
    /// The key was rejected.
    106 AuthPubKeyFailed "auth_pubkey_failed" "Public key authentication failed" {
        username: String = "username",
        key: String = "key",
    };
    /// Nobody could say whether the key is right.
    107 AuthPubKeyBackendError "auth_pubkey_backend_error" "Public key authentication backend error" {
        username: String = "username",
        key: String = "key",
        reason: String = "reason",
    };
    /// The user was asked questions.
    108 AuthKeyboardInteractiveChallenge "auth_keyboard_interactive_challenge"
        "Keyboard-interactive authentication challenge" {
        username: String = "username",
        instruction: String = "instruction",
        questions: Vec<Question> = "questions",
    };
    /// The user answered.
    109 AuthKeyboardInteractiveAnswer "auth_keyboard_interactive_answer"
        "Keyboard-interactive authentication answer" {
        username: String = "username",
        answers: Vec<Answer> = "answers",
    };
    /// The answers were wrong.
    110 AuthKeyboardInteractiveFailed "auth_keyboard_interactive_failed"
        "Keyboard-interactive authentication failed" {
        username: String = "Username",
    };
    /// Nobody could say whether the answers are right.
    111 AuthKeyboardInteractiveBackendError "auth_keyboard_interactive_backend_error"
        "Keyboard-interactive authentication backend error" {
        username: String = "username",
        reason: String = "reason",
    };
    /// The SSH handshake failed.
    198 HandshakeFailed "invalid" "invalid" {
        reason: String = "reason",
    };
    /// The SSH handshake is done and the user authenticated.
    199 HandshakeSuccessful "invalid" "invalid" {
        username: String = "username",
    };

    /// A global request of a type the gateway does not serve.
    200 GlobalRequestUnknown "global_request_unknown" "Unknown global request" {
        request_type: String = "requestType" | "channelType",
    };
    /// A global request that could not be read.
    201 GlobalRequestDecodeFailed "global_request_decode_failed" "Failed to decode global request" {
        request_id: u64 = "requestId",
        request_type: String = "requestType",
        payload: Option<Bytes> = "payload",
        reason: String = "reason",
    };
    /// `tcpip-forward`.
    202 RequestReverseForward "forward_tcpip" "Request reverse port forwarding" {
        bind_host: String = "BindHost",
        bind_port: u32 = "BindPort",
    };
    /// `cancel-tcpip-forward`.
    203 RequestCancelReverseForward "cancel_forward_tcpip" "Request to stop reverse port forwarding" {
        bind_host: String = "BindHost",
        bind_port: u32 = "BindPort",
    };
    /// `streamlocal-forward@openssh.com`.
    204 RequestStreamLocal "forward_streamlocal" "Request reverse socket forwarding" {
        path: String = "Path",
    };
    /// `cancel-streamlocal-forward@openssh.com`.
    205 RequestCancelStreamLocal "cancel_forward_streamlocal" "Request to stop reverse socket forwarding" {
        path: String = "Path",
    };

    /// The client asks for a channel.
    300 NewChannel "new_channel" "New channel request" {
        channel_type: String = "channelType",
    };
    /// The channel is open.
    301 NewChannelSuccessful "new_channel_successful" "New channel successful" {
        channel_type: String = "channelType",
    };
    /// The channel was refused.
    302 NewChannelFailed "new_channel_failed" "New channel failed" {
        channel_type: String = "channelType",
        reason: String = "reason",
    };
    /// `direct-tcpip`.
    303 NewForwardChannel "new_channel_direct_tcpip" "New client-to-server port forwarding channel" {
        host_to_connect: String = "HostToConnect",
        port_to_connect: u32 = "PortToConnect",
        originator_host: String = "OriginatorHost",
        originator_port: u32 = "OriginatorPort",
    };
    /// `forwarded-tcpip`.
    304 NewReverseForwardChannel "new_channel_forwarded_tcpip" "New server-to-client port forwarding channel" {
        connected_host: String = "ConnectedHost",
        connected_port: u32 = "ConnectedPort",
        originator_host: String = "OriginatorHost",
        originator_port: u32 = "OriginatorPort",
    };
    /// `x11`.
    305 NewReverseX11ForwardChannel "new_channel_x11" "New server-to-client X11 forwarding channel" {
        originator_host: String = "OriginatorHost",
        originator_port: u32 = "OriginatorPort",
    };
    /// `direct-streamlocal@openssh.com`.
    306 NewForwardStreamLocalChannel "new_channel_direct_streamlocal"
        "New client-to-server unix socket forwarding channel" {
        path: String = "Path",
    };
    /// `forwarded-streamlocal@openssh.com`.
    307 NewReverseStreamLocalChannel "new_channel_forwarded_streamlocal"
        "New server-to-client unix socket forwarding channel" {
        path: String = "Path",
    };

    /// A channel request of a type the gateway does not serve.
    400 ChannelRequestUnknownType "channel_request_unknown" "Unknown channel request" {
        request_id: u64 = "requestId",
        request_type: String = "requestType",
        payload: Option<Bytes> = "payload",
    };
    /// A channel request that could not be read.
    401 ChannelRequestDecodeFailed "channel_request_decode_failed" "Failed to decode channel request" {
        request_id: u64 = "requestId",
        request_type: String = "requestType",
        payload: Option<Bytes> = "payload",
        reason: String = "reason",
    };
    /// `env`.
    402 ChannelRequestSetEnv "setenv" "Set environment variable" {
        request_id: u64 = "requestId",
        name: String = "name",
        value: String = "value",
    };
    /// `exec`: one command line.
    403 ChannelRequestExec "exec" "Execute program" {
        request_id: u64 = "requestId",
        program: String = "program",
    };
    /// `pty-req`; `mode_list` is the encoded terminal modes (RFC 4254 section 8).
    404 ChannelRequestPty "pty" "Request interactive terminal" {
        request_id: u64 = "requestId",
        term: String = "term",
        columns: u32 = "columns",
        rows: u32 = "rows",
        width: u32 = "width",
        height: u32 = "height",
        mode_list: Option<Bytes> = "modelist",
    };
    /// `shell`.
    405 ChannelRequestShell "shell" "Run shell" {
        request_id: u64 = "requestId",
    };
    /// `signal`: the name without "SIG".
    406 ChannelRequestSignal "signal" "Send signal to running process" {
        request_id: u64 = "requestId",
        signal: String = "signal",
    };
    /// `subsystem`.
    407 ChannelRequestSubsystem "subsystem" "Request subsystem" {
        request_id: u64 = "requestId",
        subsystem: String = "subsystem",
    };
    /// `window-change`.
    408 ChannelRequestWindow "window" "Change window size" {
        request_id: u64 = "requestId",
        columns: u32 = "columns",
        rows: u32 = "rows",
        width: u32 = "width",
        height: u32 = "height",
    };
    /// `x11-req`.
    409 ChannelRequestX11 "x11-req" "Request X11 forwarding" {
        request_id: u64 = "requestId",
        single_connection: bool = "singleConnection",
        auth_protocol: String = "authProtocol",
        cookie: String = "cookie",
        screen: u32 = "screen",
    };
    /// No more output from the program (SSH_MSG_CHANNEL_EOF).
    496 WriteClose "close_write" "Close channel for writing";
    /// The channel is closed.
    497 Close "close" "Close channel";
    /// The program was ended by a signal.
    498 ExitSignal "exit_signal" "Program exited with signal" {
        signal: String = "signal",
        core_dumped: bool = "coreDumped",
        error_message: String = "errorMessage",
        language_tag: String = "languageTag",
    };
    /// The program exited.
    499 Exit "exit" "Program exited" {
        exit_status: u32 = "exitStatus",
    };
    /// Bytes that passed.
    500 Io "io" "I/O" {
        stream: IoStream = "stream",
        data: Bytes = "data",
    };
    /// A request was refused.
    501 RequestFailed "request_failed" "Request failed" {
        request_id: u64 = "requestId",
        reason: String = "reason",
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_itself_even_without_a_payload() {
        for code in Payload::TYPE_CODES {
            let payload = Payload::decode(*code, &Value::Null).unwrap();
            assert_eq!(payload.type_code(), *code);
            assert!(!matches!(payload, Payload::Unknown { .. }));
        }
        assert!(Payload::TYPE_CODES.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn debug_shows_no_secret() {
        let password = Some(Bytes::from_static(b"hunter2"));
        let answers = vec![Answer { question: "PIN?".into(), answer: "hunter2".into() }];
        for payload in [
            Payload::AuthPassword { username: "foo".into(), password },
            Payload::AuthKeyboardInteractiveAnswer { username: "foo".into(), answers },
            Payload::Io { stream: IoStream::Stdin, data: Bytes::from_static(b"hunter2") },
        ] {
            let shown = format!("{payload:?}");
            assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
        }
    }
}
