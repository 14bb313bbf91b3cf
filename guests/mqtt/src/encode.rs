//! Packets to the broker as bytes.

use mqtt_protocol_core::mqtt::packet::{
    MaximumPacketSize, Properties, PropertiesSize, Property, ReceiveMaximum, RetainHandling, SessionExpiryInterval,
    SubEntry, SubOpts, VariableByteInteger, v3_1_1, v5_0,
};

use crate::packet::{Ack, LARGEST_MESSAGE, Malformed, Qos, Version, malformed};

/// What CONNECT says.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// The version to speak.
    pub version: Version,
    /// The name of this client.
    pub client_id: String,
    /// The name and password to log in with.
    pub username: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// Begin a new session, and (3.1.1) end it with the connection.
    pub clean: bool,
    /// Seconds; 0 for none.
    pub keep_alive: u16,
    /// How long the broker keeps the session, in seconds (5.0).
    pub session_expiry: u32,
    /// How many deliveries the broker may have in flight (5.0).
    pub receive_maximum: u16,
}

/// CONNECT as bytes.
pub fn connect(options: &ConnectOptions) -> Result<Vec<u8>, Malformed> {
    match options.version {
        Version::V3 => {
            let mut packet = v3_1_1::Connect::builder()
                .client_id(options.client_id.as_str())?
                .clean_session(options.clean)
                .keep_alive(options.keep_alive);
            if let Some(username) = &options.username {
                packet = packet.user_name(username.as_str())?;
            }
            if let Some(password) = &options.password {
                packet = packet.password(password.as_bytes().to_vec())?;
            }
            Ok(packet.build()?.to_continuous_buffer())
        }
        Version::V5 => {
            let mut properties = vec![Property::MaximumPacketSize(MaximumPacketSize::new(LARGEST_MESSAGE as u32)?)];
            if options.session_expiry > 0 {
                properties.push(Property::SessionExpiryInterval(SessionExpiryInterval::new(options.session_expiry)?));
            }
            if options.receive_maximum > 0 {
                properties.push(Property::ReceiveMaximum(ReceiveMaximum::new(options.receive_maximum)?));
            }
            let mut packet = v5_0::Connect::builder()
                .client_id(options.client_id.as_str())?
                .clean_start(options.clean)
                .keep_alive(options.keep_alive)
                .props(properties);
            if let Some(username) = &options.username {
                packet = packet.user_name(username.as_str())?;
            }
            if let Some(password) = &options.password {
                packet = packet.password(password.as_bytes().to_vec())?;
            }
            Ok(packet.build()?.to_continuous_buffer())
        }
    }
}

/// SUBSCRIBE as bytes. In version 5 retained messages come only with a subscription that is new.
pub fn subscribe(version: Version, packet_id: u16, filters: &[String], qos: Qos) -> Result<Vec<u8>, Malformed> {
    let mut options = SubOpts::new().set_qos(qos.codec());
    if version == Version::V5 {
        options = options.set_rh(RetainHandling::SendRetainedIfNotExists).set_rap(true);
    }
    let entries = filters.iter().map(|filter| SubEntry::new(filter, options)).collect::<Result<Vec<_>, _>>()?;
    Ok(match version {
        Version::V3 => {
            v3_1_1::Subscribe::builder().packet_id(packet_id).entries(entries).build()?.to_continuous_buffer()
        }
        Version::V5 => v5_0::Subscribe::builder().packet_id(packet_id).entries(entries).build()?.to_continuous_buffer(),
    })
}

/// UNSUBSCRIBE as bytes.
pub fn unsubscribe(version: Version, packet_id: u16, filters: &[String]) -> Result<Vec<u8>, Malformed> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    for filter in filters {
        push_text(&mut body, filter.as_bytes())?;
    }
    let mut bytes = vec![0xa2];
    push_length(&mut bytes, body.len())?;
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// A message to the broker.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    /// Where to.
    pub topic: &'a str,
    /// The content.
    pub payload: &'a [u8],
    /// The quality of service.
    pub qos: Qos,
    /// The broker keeps it for later subscribers.
    pub retain: bool,
    /// The packet identifier; 0 for quality 0.
    pub packet_id: u16,
    /// The properties of version 5, as bytes without their length.
    pub properties: &'a [u8],
}

/// How many bytes the packet of a message takes.
pub fn publish_size(version: Version, message: &Publish<'_>) -> usize {
    let remaining = publish_remaining(version, message);
    1 + varint_size(remaining) + remaining
}

fn publish_remaining(version: Version, message: &Publish<'_>) -> usize {
    let properties =
        if version == Version::V5 { varint_size(message.properties.len()) + message.properties.len() } else { 0 };
    2 + message.topic.len() + if message.qos == Qos::AtMostOnce { 0 } else { 2 } + properties + message.payload.len()
}

fn varint_size(value: usize) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

/// PUBLISH, written behind what is there.
pub fn publish(version: Version, message: &Publish<'_>, bytes: &mut Vec<u8>) -> Result<(), Malformed> {
    bytes.reserve(publish_size(version, message));
    bytes.push(0x30 | (message.qos.number() << 1) | u8::from(message.retain));
    push_length(bytes, publish_remaining(version, message))?;
    push_text(bytes, message.topic.as_bytes())?;
    if message.qos != Qos::AtMostOnce {
        bytes.extend_from_slice(&message.packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        push_length(bytes, message.properties.len())?;
        bytes.extend_from_slice(message.properties);
    }
    bytes.extend_from_slice(message.payload);
    Ok(())
}

/// Marks the PUBLISH at the beginning of `bytes` as one that may have been sent before.
pub fn mark_duplicate(bytes: &mut [u8]) {
    if let Some(first) = bytes.first_mut() {
        *first |= 0x08;
    }
}

/// The properties as bytes without their length.
pub fn property_bytes(properties: &Properties) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(properties.size());
    for property in properties {
        bytes.extend_from_slice(&property.to_continuous_buffer());
    }
    bytes
}

/// An acknowledgement as bytes.
pub fn ack(ack: Ack, packet_id: u16) -> [u8; 4] {
    let first = match ack {
        Ack::Puback => 0x40,
        Ack::Pubrec => 0x50,
        Ack::Pubrel => 0x62,
        Ack::Pubcomp => 0x70,
    };
    let [high, low] = packet_id.to_be_bytes();
    [first, 2, high, low]
}

/// PINGREQ as bytes.
pub const PINGREQ: [u8; 2] = [0xc0, 0];

/// DISCONNECT as bytes: a normal end, in both versions.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];

fn push_length(bytes: &mut Vec<u8>, length: usize) -> Result<(), Malformed> {
    let length = u32::try_from(length)
        .ok()
        .and_then(VariableByteInteger::from_u32)
        .ok_or_else(|| malformed("larger than a packet can be"))?;
    bytes.extend_from_slice(length.as_bytes());
    Ok(())
}

fn push_text(bytes: &mut Vec<u8>, text: &[u8]) -> Result<(), Malformed> {
    let length = u16::try_from(text.len()).map_err(|_| malformed("a text longer than 65535 bytes"))?;
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(text);
    Ok(())
}
