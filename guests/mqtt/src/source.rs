//! The source: messages of the broker become records.

use ferrule_sdk::metrics::Counter;
use ferrule_sdk::prelude::*;
use mqtt_protocol_core::mqtt::packet::Property;

use crate::connection::{Connection, Fault};
use crate::intake::{Intake, Notice};
use crate::link::{Clean, Link, Traffic};
use crate::packet::{Incoming, Message, Qos};
use crate::parameters::{Parameters, Unused};
use crate::problems;

static LATE: Counter = Counter::new("late_settlements");
static OVERSIZED: Counter = Counter::new("oversized_messages");

/// Subscribes to topics and gives their messages.
#[derive(Debug)]
pub struct MqttSource {
    link: Link,
    intake: Intake,
    replayable: bool,
    /// The subscriptions, to be saved with the first records.
    position: Option<Vec<u8>>,
    headers: HeaderCache,
}

impl Source for MqttSource {
    type Static = Unused;
    type Config = Unused;
    type Parameters = Parameters;

    fn about() -> About {
        crate::about()
    }

    fn validate(_: &Unused, _: &Unused, parameters: &Parameters) -> Vec<Problem> {
        problems(parameters.source_problems())
    }

    fn open(session: Session<Unused, Unused, Parameters>) -> Result<Self, Error> {
        let parameters = &session.parameters;
        if let Some(problem) = problems(parameters.source_problems()).into_iter().next() {
            return Err(problem.into());
        }
        let clean = Clean { first: parameters.clean_session, later: parameters.clean_session };
        let subscriptions = parameters.subscriptions();
        let former = session.position.as_deref().and_then(|bytes| serde_json::from_slice::<Position>(bytes).ok());
        let former =
            former.filter(|position| position.version == 1).map(|position| position.topics).unwrap_or_default();
        let position = (former != subscriptions)
            .then(|| serde_json::to_vec(&Position { version: 1, topics: subscriptions.clone() }))
            .transpose()
            .map_err(Error::failed)?;
        let mut source = Self {
            link: Link::new(parameters, &session.name, clean)?,
            intake: Intake::new(subscriptions, former, parameters.quality()),
            replayable: parameters.is_persistent() && parameters.quality() != Qos::AtMostOnce,
            position,
            headers: HeaderCache::default(),
        };
        source.link.open(&mut source.intake, &session.wait())?;
        Ok(source)
    }

    fn replayable(&self) -> bool {
        self.replayable
    }

    fn next(&mut self, pull: &mut Pull) -> Result<(), Error> {
        loop {
            let ended = if pull.is_empty() {
                self.link.run(&mut self.intake, &pull.wait(), Intake::has_messages)?
            } else {
                // A broker sends message by message: to wake up for each of them would be dearer than taking it.
                self.link.gather(&mut self.intake, &pull.wait(), Intake::has_messages)?
            };
            while !pull.is_full() {
                let Some(message) = self.intake.peek() else { break };
                if !pull.is_empty() && self.headers.record_size(message) > pull.room_bytes() {
                    return Ok(());
                }
                let Some((token, message)) = self.intake.take() else { break };
                pull.push_row(&Row {
                    payload: message.payload(),
                    key: message.topic().as_bytes(),
                    headers: self.headers.of(&message).view(),
                    token: Some(token),
                    ..Row::default()
                });
            }
            if !pull.is_empty()
                && let Some(position) = self.position.take()
            {
                pull.set_position(position);
            }
            if pull.is_full() || ended != Ended::Ready {
                return Ok(());
            }
        }
    }

    fn service(&mut self, wait: &Wait) -> Result<(), Error> {
        self.link.run(&mut self.intake, wait, |_| false)?;
        Ok(())
    }

    fn settle(&mut self, tokens: &[u64]) -> Result<(), Error> {
        self.intake.settle(tokens, self.link.connection());
        // A source may stay in `next` for long, so what can be written is written now.
        self.link.write_now();
        LATE.add(self.intake.take_late());
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        self.link.close();
        Ok(())
    }
}

impl Traffic for Intake {
    fn up(&mut self, session_present: bool, connection: &mut Connection) -> Result<(), Fault> {
        Self::up(self, session_present, connection)
    }

    fn down(&mut self, _: &Connection) {
        Self::down(self);
    }

    fn packet(&mut self, packet: Incoming, connection: &mut Connection) -> Result<(), Fault> {
        if let Some(Notice::Oversized { topic, size }) = Self::packet(self, packet, connection)? {
            OVERSIZED.add(1);
            log::error!("left out a message of {size} bytes to `{topic}`: larger than this connector takes");
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        Self::is_full(self)
    }

    fn is_ready(&self) -> bool {
        Self::is_ready(self)
    }
}

/// What is saved: the filters that the broker knows of this client, so that a later session gives up those that it has no more.
#[derive(serde::Deserialize, serde::Serialize)]
struct Position {
    version: u32,
    topics: Vec<String>,
}

/// The headers of the last message: the next is often like it.
#[derive(Debug, Default)]
struct HeaderCache {
    topic: String,
    qos: Qos,
    retain: bool,
    headers: Headers,
    size: usize,
}

impl HeaderCache {
    fn of(&mut self, message: &Message) -> &Headers {
        let same = self.size > 0
            && self.topic == message.topic()
            && self.qos == message.qos()
            && self.retain == message.retain()
            && message.properties.is_empty();
        if !same {
            self.headers = headers(message);
            // A cache of headers with properties would be found again for a message without.
            self.size = if message.properties.is_empty() { header_size(&self.headers) } else { 0 };
            self.topic.clear();
            self.topic.push_str(message.topic());
            (self.qos, self.retain) = (message.qos(), message.retain());
        }
        &self.headers
    }

    /// Bytes of payload, key and headers.
    fn record_size(&mut self, message: &Message) -> usize {
        let headers = header_size(self.of(message));
        message.payload().len() + message.topic().len() + headers
    }
}

fn header_size(headers: &Headers) -> usize {
    2 + headers.view().iter().map(|(name, value)| 6 + name.len() + value.len()).sum::<usize>()
}

fn headers(message: &Message) -> Headers {
    let mut headers = Headers::new()
        .with("mqtt.topic", message.topic().as_bytes())
        .with("mqtt.qos", &[b'0' + message.qos().number()])
        .with("mqtt.retain", if message.retain() { b"true" } else { b"false" });
    for property in &message.properties {
        match property {
            Property::ContentType(value) => headers.add("mqtt.content-type", value.val().as_bytes()),
            Property::ResponseTopic(value) => headers.add("mqtt.response-topic", value.val().as_bytes()),
            Property::CorrelationData(value) => headers.add("mqtt.correlation-data", value.val()),
            Property::UserProperty(pair) => headers.add(pair.key(), pair.val().as_bytes()),
            _ => {}
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Frames, Publish, Version, property_bytes, publish};
    use mqtt_protocol_core::mqtt::packet::{ContentType, UserProperty};

    fn message(topic: &str, properties: &[Property]) -> Message {
        let mut bytes = Vec::new();
        let properties = property_bytes(&properties.to_vec());
        let message = Publish {
            topic,
            payload: b"21",
            qos: Qos::AtLeastOnce,
            retain: false,
            packet_id: 1,
            properties: &properties,
        };
        publish(Version::V5, &message, &mut bytes).unwrap();
        let mut frames = Frames::default();
        frames.feed(&bytes);
        match frames.next(Version::V5).unwrap() {
            Some(Incoming::Publish(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn headers_say_where_a_message_came_from() {
        let mut cache = HeaderCache::default();
        let properties = [
            Property::ContentType(ContentType::new("text/plain").unwrap()),
            Property::UserProperty(UserProperty::new("unit", "celsius").unwrap()),
        ];
        let rich = cache.of(&message("a", &properties)).clone();
        assert_eq!(rich.view().get("mqtt.content-type"), Some(&b"text/plain"[..]));
        assert_eq!(rich.view().get("unit"), Some(&b"celsius"[..]));
        for topic in ["a", "a", "b"] {
            let plain = cache.of(&message(topic, &[])).clone();
            assert_eq!(plain.view().get("mqtt.topic"), Some(topic.as_bytes()));
            assert_eq!(plain.view().get("mqtt.qos"), Some(&b"1"[..]));
            assert_eq!(plain.view().get("mqtt.retain"), Some(&b"false"[..]));
            assert_eq!(plain.view().get("unit"), None);
        }
        let record = Record::new("21").with_key("b").with_headers(cache.of(&message("b", &[])).clone());
        let mut pull = Pull::of(10, std::time::Duration::ZERO);
        let room = pull.room_bytes();
        pull.push(&record);
        assert_eq!(room - pull.room_bytes(), cache.record_size(&message("b", &[])));
    }
}
