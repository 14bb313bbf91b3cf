//! MQTT packets as bytes: what both directions share.
//!
//! The codec of `mqtt-protocol-core` does the packets that are rich in detail (CONNECT, SUBSCRIBE, the properties of version 5).
//! PUBLISH and the acknowledgements, of which there are millions, are read in place and written in one go.

use std::fmt;

use mqtt_protocol_core::mqtt::packet::Qos as CodecQos;
use mqtt_protocol_core::mqtt::result_code::MqttError;

pub use crate::decode::{Connack, Frames, Incoming, Message};
pub use crate::encode::{
    ConnectOptions, DISCONNECT, PINGREQ, Publish, ack, connect, mark_duplicate, property_bytes, publish, publish_size,
    subscribe, unsubscribe,
};

/// The largest message that is taken into memory. A larger one is read past and acknowledged, so that it wedges nothing.
pub const LARGEST_MESSAGE: usize = 16 * 1024 * 1024;

/// The version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    #[default]
    V3,
    /// MQTT 5.0.
    V5,
}

/// The quality of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// At most once.
    AtMostOnce,
    /// At least once.
    #[default]
    AtLeastOnce,
    /// Exactly once between client and broker.
    ExactlyOnce,
}

impl Qos {
    /// The quality as its number in the protocol.
    pub fn number(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }

    /// The quality with that number.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    pub(crate) fn codec(self) -> CodecQos {
        match self {
            Self::AtMostOnce => CodecQos::AtMostOnce,
            Self::AtLeastOnce => CodecQos::AtLeastOnce,
            Self::ExactlyOnce => CodecQos::ExactlyOnce,
        }
    }
}

/// Bytes that are not MQTT, or not allowed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<MqttError> for Malformed {
    fn from(error: MqttError) -> Self {
        Self(error.to_string())
    }
}

pub(crate) fn malformed(what: &str) -> Malformed {
    Malformed(what.to_owned())
}

/// The four acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Ends a delivery of quality 1.
    Puback,
    /// First answer to a delivery of quality 2.
    Pubrec,
    /// Answer to `Pubrec`.
    Pubrel,
    /// Ends a delivery of quality 2.
    Pubcomp,
}

/// What a reason code of version 5 means, for a person.
pub fn reason_text(code: u8, reason: Option<&str>) -> String {
    let name = match code {
        0x00 => "success",
        0x04 => "disconnect with will message",
        0x10 => "no matching subscribers",
        0x80 => "unspecified error",
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x83 => "implementation specific error",
        0x84 => "unsupported protocol version",
        0x85 => "client identifier not valid",
        0x86 => "bad user name or password",
        0x87 => "not authorized",
        0x88 => "server unavailable",
        0x89 => "server busy",
        0x8a => "banned",
        0x8b => "server shutting down",
        0x8c => "bad authentication method",
        0x8d => "keep alive timeout",
        0x8e => "session taken over by another client of the same client-id",
        0x8f => "topic filter invalid",
        0x90 => "topic name invalid",
        0x91 => "packet identifier in use",
        0x92 => "packet identifier not found",
        0x93 => "receive maximum exceeded",
        0x94 => "topic alias invalid",
        0x95 => "packet too large",
        0x96 => "message rate too high",
        0x97 => "quota exceeded",
        0x98 => "administrative action",
        0x99 => "payload format invalid",
        0x9a => "retain not supported",
        0x9b => "QoS not supported",
        0x9c => "use another server",
        0x9d => "server moved",
        0x9e => "shared subscriptions not supported",
        0x9f => "connection rate exceeded",
        0xa0 => "maximum connect time",
        0xa1 => "subscription identifiers not supported",
        0xa2 => "wildcard subscriptions not supported",
        _ => "unknown reason",
    };
    match reason {
        Some(reason) if !reason.is_empty() => format!("{name} (0x{code:02x}): {reason}"),
        _ => format!("{name} (0x{code:02x})"),
    }
}
