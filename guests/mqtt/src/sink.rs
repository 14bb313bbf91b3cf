//! The sink: records become messages to the broker.

use std::time::{Duration, Instant};

use ferrule_sdk::prelude::*;
use mqtt_protocol_core::mqtt::packet::{ContentType, CorrelationData, Property, ResponseTopic, UserProperty};

use crate::connection::{Connection, Fault};
use crate::link::{Clean, Link, Traffic};
use crate::outflow::{self, Outcome, Outflow, Outgoing};
use crate::pace::{NAP, Pace};
use crate::packet::{self, Incoming, Version};
use crate::parameters::{Parameters, Unused};
use crate::problems;
use crate::topic::Template;

/// While more bytes than this wait for the broker, `write` takes its time.
const PENDING_BYTES: usize = 8 * 1024 * 1024;
/// While more bytes than this wait, records are to be offered again: memory is bounded.
const MOST_PENDING_BYTES: usize = 20 * 1024 * 1024;
/// And not before that long.
const PENDING_AGAIN: Duration = Duration::from_secs(1);

/// The user property with the record's id, the same whenever the record is delivered again; `http` has a header of this name.
const ID_PROPERTY: &str = "ferrule-record-id";

/// Publishes records.
#[derive(Debug)]
pub struct MqttSink {
    link: Link,
    flow: Flow,
    topic: Template,
    version: Version,
    pace: Pace,
}

/// An outflow that is ready once the broker accepted the connection.
#[derive(Debug)]
struct Flow {
    outflow: Outflow,
    up: bool,
}

impl Sink for MqttSink {
    type Static = Unused;
    type Config = Unused;
    type Parameters = Parameters;

    fn about() -> About {
        // Keep-alives go out while nothing is written.
        crate::about().idle()
    }

    fn validate(_: &Unused, _: &Unused, parameters: &Parameters) -> Vec<Problem> {
        problems(parameters.sink_problems())
    }

    fn open(session: Session<Unused, Unused, Parameters>) -> Result<Self, Error> {
        let parameters = &session.parameters;
        if let Some(problem) = problems(parameters.sink_problems()).into_iter().next() {
            return Err(problem.into());
        }
        let version = parameters.protocol();
        let clean = Clean { first: outflow::clean(version, true), later: outflow::clean(version, false) };
        let template = parameters.template().map_err(|wrong| Error::invalid(wrong.message))?;
        let outflow = Outflow::new(parameters.quality(), parameters.retain, parameters.max_in_flight);
        let mut sink = Self {
            link: Link::new(parameters, &session.name, clean)?,
            flow: Flow { outflow, up: false },
            topic: template,
            version,
            pace: Pace::default(),
        };
        sink.link.open(&mut sink.flow, &session.wait())?;
        Ok(sink)
    }

    fn write(&mut self, records: &Records, outcomes: &mut Outcomes) -> Result<(), Error> {
        for record in records {
            if self.flow.outflow.pending_bytes() > MOST_PENDING_BYTES {
                outcomes.retry(
                    record,
                    Some(PENDING_AGAIN),
                    "the broker does not keep up: too much waits for it already",
                );
                continue;
            }
            match self.topic.fill(|name| record.header(name)) {
                Ok(topic) => self.flow.outflow.offer(Outgoing {
                    token: record.token(),
                    topic,
                    payload: record.payload().to_vec(),
                    properties: if self.version == Version::V5 { properties(record) } else { Vec::new() },
                }),
                Err(reason) => outcomes.reject(record, reason),
            }
        }
        let wait =
            if self.flow.outflow.pending_bytes() > PENDING_BYTES { Duration::from_secs(1) } else { Duration::ZERO };
        let ended =
            self.link.run(&mut self.flow, &Wait::at_most(wait), |flow| flow.outflow.pending_bytes() <= PENDING_BYTES);
        self.tell(outcomes);
        ended.map(|_| ())
    }

    fn idle(&mut self, wait: &Wait, outcomes: &mut Outcomes) -> Result<(), Error> {
        let answered = |flow: &Flow| flow.outflow.has_outcomes();
        let mut ended = Ok(Ended::Elapsed);
        if self.pace.is_worth_a_nap(self.flow.outflow.in_flight()) {
            ended = self.link.gather(&mut self.flow, &wait.and_at_most(NAP), |_| false);
        }
        if ended == Ok(Ended::Elapsed) && !answered(&self.flow) {
            ended = self.link.run(&mut self.flow, wait, answered);
        }
        self.tell(outcomes);
        ended.map(|_| ())
    }

    fn close(&mut self) -> Result<(), Error> {
        self.link.close();
        Ok(())
    }
}

impl MqttSink {
    fn tell(&mut self, outcomes: &mut Outcomes) {
        let answers = self.flow.outflow.take_outcomes();
        self.pace.answered(Instant::now(), answers.len());
        for outcome in answers {
            match outcome {
                Outcome::Delivered(token) => outcomes.delivered(token),
                Outcome::Retry(token, reason) => outcomes.retry(token, None, reason),
                Outcome::Rejected(token, reason) => outcomes.reject(token, reason),
            }
        }
    }
}

impl Traffic for Flow {
    fn up(&mut self, session_present: bool, connection: &mut Connection) -> Result<(), Fault> {
        self.up = true;
        self.outflow.up(session_present, connection)
    }

    fn down(&mut self, connection: &Connection) {
        self.up = false;
        self.outflow.down(connection);
    }

    fn packet(&mut self, packet: Incoming, connection: &mut Connection) -> Result<(), Fault> {
        self.outflow.packet(packet, connection)
    }

    fn pump(&mut self, connection: &mut Connection) -> Result<(), Fault> {
        self.outflow.pump(connection)
    }

    fn wrote(&mut self, connection: &Connection) {
        self.outflow.wrote(connection);
    }

    fn is_ready(&self) -> bool {
        self.up
    }
}

/// The record's id and its headers as properties of version 5: the counterpart of what the source makes of them. What is no text is
/// left out, and so is the id that the record had where it came from.
fn properties(record: RecordRef<'_>) -> Vec<u8> {
    let id = record.id().and_then(|id| UserProperty::new(ID_PROPERTY, std::str::from_utf8(id).ok()?).ok());
    let headers = record.headers().iter().filter_map(|(name, value)| {
        if name == "mqtt.correlation-data" {
            return CorrelationData::new(value.to_vec()).ok().map(Property::CorrelationData);
        }
        let text = std::str::from_utf8(value).ok()?;
        match name {
            "mqtt.content-type" => ContentType::new(text).ok().map(Property::ContentType),
            "mqtt.response-topic" => ResponseTopic::new(text).ok().map(Property::ResponseTopic),
            _ if name.starts_with("mqtt.") || name == ID_PROPERTY => None,
            _ => UserProperty::new(name, text).ok().map(Property::UserProperty),
        }
    });
    packet::property_bytes(&once_each(id.map(Property::UserProperty).into_iter().chain(headers)))
}

/// All but user properties may occur once only.
fn once_each(properties: impl Iterator<Item = Property>) -> Vec<Property> {
    let mut kept: Vec<Property> = Vec::new();
    for property in properties {
        let single = !matches!(property, Property::UserProperty(_));
        if !(single && kept.iter().any(|other| other.id() == property.id())) {
            kept.push(property);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_protocol_core::mqtt::packet::PropertiesParse;

    #[test]
    fn headers_travel_as_properties() {
        let records = Records::of([Record::new("x")
            .with_header("mqtt.topic", b"from/here")
            .with_header("mqtt.content-type", b"text/plain")
            .with_header("mqtt.content-type", b"twice")
            .with_header("unit", b"celsius")
            .with_header("ferrule-record-id", b"of the hop before")
            .with_header("binary", &[0xff])]);
        let bytes = properties(records.get(0).unwrap());
        let mut with_length = vec![bytes.len() as u8];
        with_length.extend_from_slice(&bytes);
        let (read, _) = Vec::<Property>::parse(&with_length).unwrap();
        assert_eq!(
            read,
            [
                Property::ContentType(ContentType::new("text/plain").unwrap()),
                Property::UserProperty(UserProperty::new("unit", "celsius").unwrap()),
            ]
        );
    }
}
