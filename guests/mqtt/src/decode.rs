//! Packets from the broker: framing and decoding.

use mqtt_protocol_core::mqtt::packet::{
    DecodeResult, Properties, PropertiesParse, Property, ReasonString, VariableByteInteger,
};

use crate::packet::{Ack, LARGEST_MESSAGE, Malformed, Qos, Version, malformed};

/// How much of a message that is too large is kept, to know its topic and packet identifier.
const OVERSIZED_HEAD: usize = 2 + 65_535 + 2;

/// A message from the broker. The body of its packet is kept as it came; the accessors point into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    flags: u8,
    packet_id: u16,
    topic_len: usize,
    payload_start: usize,
    body: Vec<u8>,
    /// The properties of version 5.
    pub properties: Properties,
}

impl Message {
    /// The topic that it was published to.
    pub fn topic(&self) -> &str {
        // Checked to be UTF-8 when the packet was read.
        std::str::from_utf8(&self.body[2..2 + self.topic_len]).unwrap_or_default()
    }

    /// The content.
    pub fn payload(&self) -> &[u8] {
        &self.body[self.payload_start..]
    }

    /// The quality of service of this delivery.
    pub fn qos(&self) -> Qos {
        Qos::from_number((self.flags >> 1) & 3).unwrap_or_default()
    }

    /// Whether the broker kept the message from before the subscription.
    pub fn retain(&self) -> bool {
        self.flags & 1 != 0
    }

    /// The packet identifier; 0 for quality 0.
    pub fn packet_id(&self) -> u16 {
        self.packet_id
    }

    /// Forgets the packet identifier: the broker no longer knows it, so nothing is to be acknowledged.
    pub fn orphan(&mut self) {
        self.packet_id = 0;
    }

    /// The bytes that it takes up.
    pub fn size(&self) -> usize {
        self.body.len()
    }

    fn read(version: Version, flags: u8, body: &[u8]) -> Result<Self, Malformed> {
        let (topic_len, packet_id, mut at) = read_publish_head(flags, body)?;
        let properties = if version == Version::V5 {
            let (properties, used) = Properties::parse(&body[at..])?;
            at += used;
            properties
        } else {
            Properties::new()
        };
        if topic_len == 0 {
            return Err(malformed("a message without a topic"));
        }
        Ok(Self { flags, packet_id, topic_len, payload_start: at, body: body.to_vec(), properties })
    }
}

fn read_publish_head(flags: u8, body: &[u8]) -> Result<(usize, u16, usize), Malformed> {
    let topic_len = usize::from(read_u16(body, 0)?);
    let topic = body.get(2..2 + topic_len).ok_or_else(|| malformed("a message that ends within its topic"))?;
    let topic = std::str::from_utf8(topic).map_err(|_| malformed("a topic that is not UTF-8"))?;
    if topic.contains(['+', '#', '\0']) {
        return Err(malformed("a message whose topic holds a wildcard"));
    }
    let mut at = 2 + topic_len;
    let packet_id = match (flags >> 1) & 3 {
        0 => 0,
        3 => return Err(malformed("a message of quality of service 3")),
        _ => {
            let id = read_u16(body, at)?;
            at += 2;
            if id == 0 {
                return Err(malformed("a packet identifier of 0"));
            }
            id
        }
    };
    Ok((topic_len, packet_id, at))
}

fn read_u16(bytes: &[u8], at: usize) -> Result<u16, Malformed> {
    match bytes.get(at..at + 2) {
        Some(&[high, low]) => Ok(u16::from_be_bytes([high, low])),
        _ => Err(malformed("a packet that ends too early")),
    }
}

/// What the broker says on connecting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connack {
    /// The broker knows this client's session.
    pub session_present: bool,
    /// 0 is success. In 3.1.1 a return code, in 5.0 a reason code.
    pub code: u8,
    /// Properties of version 5.
    pub properties: Properties,
}

/// A packet from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The answer to CONNECT.
    Connack(Connack),
    /// A message.
    Publish(Message),
    /// A message that was too large to take in, and was read past.
    Oversized {
        /// Where it went.
        topic: String,
        /// 0 for quality 0.
        packet_id: u16,
        /// Its quality of service.
        qos: Qos,
        /// Bytes of its packet.
        size: usize,
    },
    /// An acknowledgement.
    Ack {
        /// Which of the four.
        ack: Ack,
        /// What it is for.
        packet_id: u16,
        /// The reason code; 0 in 3.1.1.
        code: u8,
        /// What the broker says about it.
        reason: Option<String>,
    },
    /// The answer to SUBSCRIBE.
    Suback {
        /// Which SUBSCRIBE.
        packet_id: u16,
        /// A code for each filter.
        codes: Vec<u8>,
        /// What the broker says about it.
        reason: Option<String>,
    },
    /// The answer to UNSUBSCRIBE.
    Unsuback {
        /// Which UNSUBSCRIBE.
        packet_id: u16,
    },
    /// The answer to PINGREQ.
    Pingresp,
    /// The broker ends the connection (version 5).
    Disconnect {
        /// Why.
        code: u8,
        /// What the broker says about it.
        reason: Option<String>,
    },
}

/// Bytes from the broker, until they make packets.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
    start: usize,
    skipping: Option<Skipping>,
}

#[derive(Debug)]
struct Skipping {
    flags: u8,
    size: usize,
    left: usize,
    head: Vec<u8>,
}

impl Frames {
    /// Adds bytes as they came.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        if let Some(skipping) = &mut self.skipping {
            let taken = skipping.left.min(bytes.len());
            let wanted = OVERSIZED_HEAD.saturating_sub(skipping.head.len()).min(taken);
            skipping.head.extend_from_slice(&bytes[..wanted]);
            skipping.left -= taken;
            bytes = &bytes[taken..];
        }
        if self.start > 0 && self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
        } else if self.start > 64 * 1024 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Forgets everything: another connection begins.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next packet, if it is complete.
    pub fn next(&mut self, version: Version) -> Result<Option<Incoming>, Malformed> {
        if let Some(skipping) = self.skipping.take_if(|skipping| skipping.left == 0) {
            let (topic_len, packet_id, _) = read_publish_head(skipping.flags, &skipping.head)?;
            let topic = String::from_utf8_lossy(&skipping.head[2..2 + topic_len]).into_owned();
            let qos = Qos::from_number((skipping.flags >> 1) & 3).unwrap_or_default();
            return Ok(Some(Incoming::Oversized { topic, packet_id, qos, size: skipping.size }));
        }
        if self.skipping.is_some() {
            return Ok(None);
        }
        let pending = &self.buffer[self.start..];
        let Some((&header, rest)) = pending.split_first() else { return Ok(None) };
        let (length, used) = match VariableByteInteger::decode_stream(rest) {
            DecodeResult::Ok(value, used) => (value.to_u32() as usize, used),
            DecodeResult::Incomplete => return Ok(None),
            DecodeResult::Err(_) => return Err(malformed("a packet whose length is not a variable byte integer")),
        };
        let head = 1 + used;
        if length > LARGEST_MESSAGE {
            if header >> 4 != 3 {
                return Err(malformed("a packet larger than any that is not a message may be"));
            }
            let available = (pending.len() - head).min(length);
            let kept = available.min(OVERSIZED_HEAD);
            self.skipping = Some(Skipping {
                flags: header & 15,
                size: length,
                left: length - available,
                head: pending[head..head + kept].to_vec(),
            });
            self.start += head + available;
            return self.next(version);
        }
        let Some(body) = pending.get(head..head + length) else { return Ok(None) };
        let packet = read_packet(version, header, body)?;
        self.start += head + length;
        Ok(Some(packet))
    }
}

fn read_packet(version: Version, header: u8, body: &[u8]) -> Result<Incoming, Malformed> {
    match header >> 4 {
        2 => match *body {
            [flags, code, ref rest @ ..] => Ok(Incoming::Connack(Connack {
                session_present: flags & 1 != 0,
                code,
                properties: read_properties(version, rest)?,
            })),
            _ => Err(malformed("a CONNACK that ends too early")),
        },
        3 => Message::read(version, header & 15, body).map(Incoming::Publish),
        4 => read_ack(version, Ack::Puback, body),
        5 => read_ack(version, Ack::Pubrec, body),
        6 => read_ack(version, Ack::Pubrel, body),
        7 => read_ack(version, Ack::Pubcomp, body),
        9 => {
            let packet_id = read_u16(body, 0)?;
            let mut codes = &body[2..];
            let mut reason = None;
            if version == Version::V5 {
                let (properties, used) = Properties::parse(codes)?;
                reason = reason_string(&properties);
                codes = &codes[used..];
            }
            Ok(Incoming::Suback { packet_id, codes: codes.to_vec(), reason })
        }
        11 => Ok(Incoming::Unsuback { packet_id: read_u16(body, 0)? }),
        13 => Ok(Incoming::Pingresp),
        14 if version == Version::V5 => {
            let (code, properties) = match *body {
                [] => (0, Properties::new()),
                [code, ref rest @ ..] => (code, read_properties(version, rest)?),
            };
            Ok(Incoming::Disconnect { code, reason: reason_string(&properties) })
        }
        kind => Err(Malformed(format!("a packet of type {kind}, which a broker may not send"))),
    }
}

fn read_ack(version: Version, ack: Ack, body: &[u8]) -> Result<Incoming, Malformed> {
    let packet_id = read_u16(body, 0)?;
    if version == Version::V3 && body.len() != 2 {
        return Err(malformed("an acknowledgement of the wrong length"));
    }
    let (code, reason) = match body[2..] {
        [code, ref rest @ ..] if version == Version::V5 => (code, reason_string(&read_properties(version, rest)?)),
        _ => (0, None),
    };
    Ok(Incoming::Ack { ack, packet_id, code, reason })
}

fn read_properties(version: Version, bytes: &[u8]) -> Result<Properties, Malformed> {
    if version == Version::V3 || bytes.is_empty() {
        return Ok(Properties::new());
    }
    Ok(Properties::parse(bytes)?.0)
}

fn reason_string(properties: &Properties) -> Option<String> {
    properties.iter().find_map(|property| match property {
        Property::ReasonString(reason) => Some(ReasonString::val(reason).to_owned()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Publish, publish, publish_size};

    #[test]
    fn a_message_survives_being_cut_anywhere() {
        for version in [Version::V3, Version::V5] {
            let mut bytes = Vec::new();
            let message = Publish {
                topic: "a/b",
                payload: b"content",
                qos: Qos::AtLeastOnce,
                retain: true,
                packet_id: 7,
                properties: &[],
            };
            publish(version, &message, &mut bytes).unwrap();
            assert_eq!(bytes.len(), publish_size(version, &message));
            for cut in 0..bytes.len() {
                let mut frames = Frames::default();
                frames.feed(&bytes[..cut]);
                assert_eq!(frames.next(version).unwrap(), None);
                frames.feed(&bytes[cut..]);
                let Some(Incoming::Publish(message)) = frames.next(version).unwrap() else {
                    panic!("no message at {cut}")
                };
                assert_eq!((message.topic(), message.payload()), ("a/b", &b"content"[..]));
                assert_eq!((message.packet_id(), message.qos(), message.retain()), (7, Qos::AtLeastOnce, true));
                assert_eq!(frames.next(version).unwrap(), None);
            }
        }
    }

    #[test]
    fn a_message_too_large_is_read_past() {
        let mut bytes = Vec::new();
        let payload = vec![1; LARGEST_MESSAGE];
        let message = Publish {
            topic: "big",
            payload: &payload,
            qos: Qos::AtLeastOnce,
            retain: false,
            packet_id: 9,
            properties: &[],
        };
        publish(Version::V3, &message, &mut bytes).unwrap();
        bytes.extend_from_slice(&[0xd0, 0]);
        let mut frames = Frames::default();
        let mut seen = Vec::new();
        for chunk in bytes.chunks(70_000) {
            frames.feed(chunk);
            while let Some(packet) = frames.next(Version::V3).unwrap() {
                seen.push(packet);
            }
            assert!(frames.buffer.capacity() < 1024 * 1024);
        }
        assert!(matches!(&seen[..], [
            Incoming::Oversized { topic, packet_id: 9, qos: Qos::AtLeastOnce, size },
            Incoming::Pingresp,
        ] if topic == "big" && *size > LARGEST_MESSAGE));
    }

    #[test]
    fn what_is_not_mqtt_is_refused() {
        for bytes in [&[0x40, 3, 0, 1, 0][..], &[0x36, 4, 0, 1, b'a', 0], &[0x30, 3, 0, 1, b'#'], &[0x20, 1, 0]] {
            let mut frames = Frames::default();
            frames.feed(bytes);
            assert!(frames.next(Version::V3).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn reasons_of_version_five_are_read() {
        let mut frames = Frames::default();
        // PUBACK, identifier 3, 0x97, one property: reason string "full".
        frames.feed(&[0x40, 11, 0, 3, 0x97, 7, 0x1f, 0, 4, b'f', b'u', b'l', b'l']);
        assert_eq!(
            frames.next(Version::V5).unwrap(),
            Some(Incoming::Ack { ack: Ack::Puback, packet_id: 3, code: 0x97, reason: Some("full".into()) })
        );
    }
}
