//! What a sink does with records, without I/O: a window of messages in flight, their outcomes, and sending again after a
//! connection broke.

use std::collections::{HashMap, VecDeque};

use crate::connection::{Connection, Fault};
use crate::packet::{self, Ack, Incoming, Publish, Qos, Version};

/// Messages are written out while fewer bytes than this wait for the socket.
const OUTPUT_BYTES: usize = 1024 * 1024;
/// Messages in flight take up at most so many bytes, unless it is a single one.
const IN_FLIGHT_BYTES: usize = 8 * 1024 * 1024;

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The broker has it.
    Delivered(u64),
    /// Not now.
    Retry(u64, String),
    /// Never.
    Rejected(u64, String),
}

/// A record on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The name that the host gave it.
    pub token: u64,
    /// Where to.
    pub topic: String,
    /// The content.
    pub payload: Vec<u8>,
    /// The properties of version 5, as bytes.
    pub properties: Vec<u8>,
}

impl Outgoing {
    fn size(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.len()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Published,
    Released,
}

#[derive(Debug)]
struct InFlight {
    order: u64,
    token: u64,
    stage: Stage,
    packet: Vec<u8>,
}

/// The messages of one session.
#[derive(Debug)]
pub struct Outflow {
    qos: Qos,
    retain: bool,
    window: usize,
    pending: VecDeque<Outgoing>,
    pending_bytes: usize,
    in_flight: HashMap<u16, InFlight>,
    in_flight_bytes: usize,
    sent: u64,
    last_id: u16,
    unwritten: VecDeque<(u64, u64)>,
    outcomes: Vec<Outcome>,
}

impl Outflow {
    /// At most `window` messages of quality 1 and 2 are in flight.
    pub fn new(qos: Qos, retain: bool, window: u16) -> Self {
        Self {
            qos,
            retain,
            window: usize::from(window.clamp(1, u16::MAX - 1)),
            pending: VecDeque::new(),
            pending_bytes: 0,
            in_flight: HashMap::new(),
            in_flight_bytes: 0,
            sent: 0,
            last_id: 0,
            unwritten: VecDeque::new(),
            outcomes: Vec::new(),
        }
    }

    /// Takes a record to send.
    pub fn offer(&mut self, outgoing: Outgoing) {
        self.pending_bytes += outgoing.size();
        self.pending.push_back(outgoing);
    }

    /// How many bytes of records wait for their turn.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// How many messages the broker has to answer.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many records are without an outcome.
    pub fn open(&self) -> usize {
        self.pending.len() + self.in_flight.len() + self.unwritten.len()
    }

    /// The outcomes known since this was last asked.
    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// Whether there are outcomes to tell.
    pub fn has_outcomes(&self) -> bool {
        !self.outcomes.is_empty()
    }

    /// Writes what the window and the broker allow.
    pub fn pump(&mut self, connection: &mut Connection) -> Result<(), Fault> {
        if !connection.is_up() {
            return Ok(());
        }
        let allowed = connection.allowed();
        let window = self.window.min(usize::from(allowed.receive_maximum));
        while let Some(next) = self.pending.front() {
            if connection.unwritten().len() >= OUTPUT_BYTES {
                break;
            }
            let acknowledged = self.qos != Qos::AtMostOnce;
            let full = self.in_flight.len() >= window || self.in_flight_bytes + next.payload.len() > IN_FLIGHT_BYTES;
            if acknowledged && full && !self.in_flight.is_empty() {
                break;
            }
            let mut message = Publish {
                topic: &next.topic,
                payload: &next.payload,
                qos: self.qos,
                retain: self.retain,
                packet_id: 0,
                properties: &next.properties,
            };
            let version = connection.version();
            let size = packet::publish_size(version, &message);
            if size > allowed.packet_size {
                let reason = format!("{size} bytes as a packet, but the broker takes at most {}", allowed.packet_size);
                self.outcomes.push(Outcome::Rejected(next.token, reason));
                self.pending_bytes -= next.size();
                self.pending.pop_front();
                continue;
            }
            if acknowledged {
                message.packet_id = free_id(self.last_id, &self.in_flight);
                self.last_id = message.packet_id;
                let mut packet = Vec::with_capacity(size);
                packet::publish(version, &message, &mut packet)?;
                connection.send(&packet);
                self.in_flight_bytes += packet.len();
                self.sent += 1;
                let in_flight = InFlight { order: self.sent, token: next.token, stage: Stage::Published, packet };
                self.in_flight.insert(message.packet_id, in_flight);
            } else {
                packet::publish(version, &message, connection.output())?;
                self.unwritten.push_back((connection.queued(), next.token));
            }
            self.pending_bytes -= next.size();
            self.pending.pop_front();
        }
        Ok(())
    }

    /// The socket took bytes: messages of quality 0 among them are delivered.
    pub fn wrote(&mut self, connection: &Connection) {
        let written = connection.written();
        while let Some((_, token)) = self.unwritten.pop_front_if(|(end, _)| *end <= written) {
            self.outcomes.push(Outcome::Delivered(token));
        }
    }

    /// The broker accepted a connection: what was in flight goes again, in its order.
    pub fn up(&mut self, session_present: bool, connection: &mut Connection) -> Result<(), Fault> {
        let allowed = connection.allowed();
        if self.qos > allowed.qos {
            let highest = allowed.qos.number();
            return Err(Fault::Invalid(format!(
                "the broker takes messages up to QoS {highest}; set `qos: {highest}` or lower"
            )));
        }
        if self.retain && !allowed.retain {
            return Err(Fault::Invalid("the broker does not keep retained messages; set `retain: false`".into()));
        }
        let mut in_order: Vec<_> = self.in_flight.iter_mut().collect();
        in_order.sort_unstable_by_key(|(_, message)| message.order);
        for (packet_id, message) in in_order {
            if session_present && message.stage == Stage::Released {
                connection.send(&packet::ack(Ack::Pubrel, *packet_id));
            } else {
                // Without its session the broker knows nothing of a message that it had not released.
                message.stage = Stage::Published;
                packet::mark_duplicate(&mut message.packet);
                connection.send(&message.packet);
            }
        }
        self.pump(connection)
    }

    /// The connection is gone: messages of quality 0 that were not written are to be offered again, and all behind them.
    pub fn down(&mut self, connection: &Connection) {
        self.wrote(connection);
        if self.unwritten.is_empty() {
            return;
        }
        for (_, token) in self.unwritten.drain(..) {
            self.outcomes.push(Outcome::Retry(token, "the connection broke before the message was written".into()));
        }
        self.postpone("the connection broke before a message ahead of it was written");
    }

    /// What was not sent is to be offered again: else it would overtake a message that is.
    fn postpone(&mut self, reason: &str) {
        self.pending_bytes = 0;
        self.outcomes.extend(self.pending.drain(..).map(|waiting| Outcome::Retry(waiting.token, reason.to_owned())));
    }

    /// A packet came.
    pub fn packet(&mut self, packet: Incoming, connection: &mut Connection) -> Result<(), Fault> {
        match packet {
            Incoming::Ack { ack: Ack::Puback | Ack::Pubcomp, packet_id, code, reason } => {
                self.finish(packet_id, code, reason.as_deref());
            }
            Incoming::Ack { ack: Ack::Pubrec, packet_id, code, reason } => {
                if code >= 0x80 {
                    self.finish(packet_id, code, reason.as_deref());
                } else {
                    if let Some(message) = self.in_flight.get_mut(&packet_id) {
                        message.stage = Stage::Released;
                    }
                    connection.send(&packet::ack(Ack::Pubrel, packet_id));
                }
            }
            // A session of another life may still have subscriptions: nobody wants these messages.
            Incoming::Publish(message) => match message.qos() {
                Qos::AtMostOnce => {}
                Qos::AtLeastOnce => connection.send(&packet::ack(Ack::Puback, message.packet_id())),
                Qos::ExactlyOnce => connection.send(&packet::ack(Ack::Pubrec, message.packet_id())),
            },
            Incoming::Ack { ack: Ack::Pubrel, packet_id, .. } => connection.send(&packet::ack(Ack::Pubcomp, packet_id)),
            _ => {}
        }
        self.pump(connection)
    }

    fn finish(&mut self, packet_id: u16, code: u8, reason: Option<&str>) {
        let Some(message) = self.in_flight.remove(&packet_id) else { return };
        self.in_flight_bytes -= message.packet.len();
        let token = message.token;
        let outcome = match code {
            // 0x92: the broker does not know a message that was released; it has had it.
            0..0x80 | 0x92 => Outcome::Delivered(token),
            // Unspecified, busy, shutting down, identifier in use, too many, over quota: another time may do.
            0x80 | 0x83 | 0x89 | 0x8b | 0x91 | 0x93 | 0x96 | 0x97 => {
                Outcome::Retry(token, format!("the broker did not take it: {}", packet::reason_text(code, reason)))
            }
            _ => Outcome::Rejected(token, format!("the broker refused it: {}", packet::reason_text(code, reason))),
        };
        let again = matches!(outcome, Outcome::Retry(..));
        self.outcomes.push(outcome);
        if again {
            self.postpone("the broker did not take a message ahead of it");
        }
    }
}

/// The packet identifier after `last` that is not in flight. There is one: the window is smaller than there are identifiers.
fn free_id(last: u16, in_flight: &HashMap<u16, InFlight>) -> u16 {
    let mut id = last;
    loop {
        id = id.checked_add(1).unwrap_or(1);
        if !in_flight.contains_key(&id) {
            return id;
        }
    }
}

/// Whether a session has to be begun anew on the first connection: packet identifiers of an earlier life would be taken for
/// messages sent before. Version 3.1.1 cannot do so and keep the session after, so there it is always clean.
pub fn clean(version: Version, first: bool) -> bool {
    first || version == Version::V3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Event;
    use crate::connection::tests::{accept, accepted, drain};

    fn outgoing(token: u64) -> Outgoing {
        Outgoing { token, topic: "t".into(), payload: vec![b'x'], properties: Vec::new() }
    }

    fn receive(outflow: &mut Outflow, connection: &mut Connection, bytes: &[u8]) {
        connection.feed(bytes, 0);
        while let Some(event) = connection.next_event().unwrap() {
            let Event::Packet(packet) = event else { panic!("connected twice") };
            outflow.packet(packet, connection).unwrap();
        }
    }

    #[test]
    fn many_are_in_flight_and_answered_in_any_order() {
        let mut connection = accepted(Version::V3, false);
        let mut outflow = Outflow::new(Qos::AtLeastOnce, false, 3);
        for token in 1..=4 {
            outflow.offer(outgoing(token));
        }
        outflow.pump(&mut connection).unwrap();
        assert_eq!(drain(&mut connection).len(), 3 * 8, "the window is three messages");
        assert!(outflow.pending_bytes() > 0);
        receive(&mut outflow, &mut connection, &[0x40, 2, 0, 2]);
        assert_eq!(outflow.take_outcomes(), [Outcome::Delivered(2)]);
        assert_eq!(drain(&mut connection), [0x32, 6, 0, 1, b't', 0, 4, b'x']);
        receive(&mut outflow, &mut connection, &[0x40, 2, 0, 1, 0x40, 2, 0, 4, 0x40, 2, 0, 3, 0x40, 2, 0, 3]);
        assert_eq!(outflow.take_outcomes(), [Outcome::Delivered(1), Outcome::Delivered(4), Outcome::Delivered(3)]);
        assert_eq!(outflow.open(), 0);
        assert_eq!(outflow.in_flight_bytes, 0);
    }

    #[test]
    fn after_a_break_what_is_in_flight_goes_again_as_a_duplicate() {
        let mut connection = accepted(Version::V5, false);
        let mut outflow = Outflow::new(Qos::ExactlyOnce, false, 10);
        outflow.offer(outgoing(1));
        outflow.offer(outgoing(2));
        outflow.pump(&mut connection).unwrap();
        drain(&mut connection);
        receive(&mut outflow, &mut connection, &[0x50, 2, 0, 1]);
        assert_eq!(drain(&mut connection), [0x62, 2, 0, 1]);
        outflow.down(&connection);
        connection.end();
        assert_eq!(outflow.take_outcomes(), []);
        accept(&mut connection, true);
        outflow.up(true, &mut connection).unwrap();
        assert_eq!(drain(&mut connection), [0x62, 2, 0, 1, 0x3c, 7, 0, 1, b't', 0, 2, 0, b'x']);
        receive(&mut outflow, &mut connection, &[0x70, 2, 0, 1, 0x50, 2, 0, 2, 0x70, 2, 0, 2]);
        assert_eq!(outflow.take_outcomes(), [Outcome::Delivered(1), Outcome::Delivered(2)]);
    }

    #[test]
    fn what_is_not_acknowledged_is_delivered_when_written() {
        let mut connection = accepted(Version::V3, false);
        let mut outflow = Outflow::new(Qos::AtMostOnce, true, 10);
        outflow.offer(outgoing(1));
        outflow.offer(outgoing(2));
        outflow.pump(&mut connection).unwrap();
        assert_eq!(connection.unwritten()[0], 0x31);
        connection.took(9);
        connection.wrote(7, 0);
        outflow.wrote(&connection);
        assert_eq!(outflow.take_outcomes(), [Outcome::Delivered(1)]);
        outflow.down(&connection);
        connection.end();
        assert!(matches!(&outflow.take_outcomes()[..], [Outcome::Retry(2, _)]));
        assert_eq!(outflow.open(), 0);
    }

    #[test]
    fn reason_codes_decide_what_becomes_of_a_record() {
        let mut connection = accepted(Version::V5, false);
        let mut outflow = Outflow::new(Qos::AtLeastOnce, false, 10);
        for token in 1..=3 {
            outflow.offer(outgoing(token));
        }
        outflow.pump(&mut connection).unwrap();
        receive(&mut outflow, &mut connection, &[0x40, 3, 0, 1, 0x10, 0x40, 3, 0, 2, 0x97, 0x40, 3, 0, 3, 0x87]);
        let outcomes = outflow.take_outcomes();
        assert_eq!(outcomes[0], Outcome::Delivered(1), "nobody listening is no fault");
        assert!(matches!(&outcomes[1], Outcome::Retry(2, reason) if reason.contains("quota exceeded")));
        assert!(matches!(&outcomes[2], Outcome::Rejected(3, reason) if reason.contains("not authorized")));
    }

    #[test]
    fn what_was_not_sent_does_not_overtake_what_is_to_be_sent_again() {
        let retried = |outflow: &mut Outflow| -> Vec<u64> {
            let token = |outcome| match outcome {
                Outcome::Retry(token, _) => token,
                other => panic!("{other:?}"),
            };
            outflow.take_outcomes().into_iter().map(token).collect()
        };
        let mut connection = accepted(Version::V5, false);
        let mut outflow = Outflow::new(Qos::AtLeastOnce, false, 1);
        (1..=3).for_each(|token| outflow.offer(outgoing(token)));
        outflow.pump(&mut connection).unwrap();
        receive(&mut outflow, &mut connection, &[0x40, 3, 0, 1, 0x97]);
        let mut again = retried(&mut outflow);
        again.sort_unstable();
        assert_eq!((again, outflow.open(), outflow.pending_bytes()), (vec![1, 2, 3], 0, 0));

        let mut connection = accepted(Version::V3, false);
        let mut outflow = Outflow::new(Qos::AtMostOnce, false, 1);
        outflow.offer(outgoing(1));
        outflow.pump(&mut connection).unwrap();
        outflow.offer(outgoing(2));
        outflow.down(&connection);
        assert_eq!((retried(&mut outflow), outflow.open()), (vec![1, 2], 0));
    }

    #[test]
    fn packet_identifiers_in_use_are_passed_over() {
        let mut connection = accepted(Version::V3, false);
        let mut outflow = Outflow::new(Qos::AtLeastOnce, false, 2);
        outflow.offer(outgoing(0));
        outflow.pump(&mut connection).unwrap();
        for token in 1..=70_000_u64 {
            outflow.offer(outgoing(token));
            outflow.pump(&mut connection).unwrap();
            let written = drain(&mut connection);
            let id = &written[written.len() - 3..written.len() - 1];
            assert_ne!(id, [0, 1], "identifier 1 is in flight all the time");
            assert_ne!(id, [0, 0]);
            receive(&mut outflow, &mut connection, &[0x40, 2, id[0], id[1]]);
        }
        assert_eq!(outflow.take_outcomes().len(), 70_000);
        assert_eq!(outflow.open(), 1);
    }

    #[test]
    fn what_the_broker_cannot_take_is_rejected_at_once() {
        let mut connection = Connection::new(packet::ConnectOptions {
            version: Version::V5,
            client_id: "c".into(),
            ..Default::default()
        });
        connection.begin(true, 0).unwrap();
        drain(&mut connection);
        connection.feed(&[0x20, 8, 0, 0, 5, 0x27, 0, 0, 0, 20], 0);
        connection.next_event().unwrap();
        let mut outflow = Outflow::new(Qos::AtLeastOnce, false, 10);
        outflow.offer(Outgoing { payload: vec![0; 30], ..outgoing(1) });
        outflow.offer(outgoing(2));
        outflow.pump(&mut connection).unwrap();
        assert!(
            matches!(&outflow.take_outcomes()[..], [Outcome::Rejected(1, reason)] if reason.contains("at most 20"))
        );
        assert_eq!(outflow.open(), 1);
    }

    #[test]
    fn a_broker_that_cannot_do_it_is_told_at_once() {
        let mut connection = Connection::new(packet::ConnectOptions {
            version: Version::V5,
            client_id: "c".into(),
            ..Default::default()
        });
        connection.begin(true, 0).unwrap();
        connection.feed(&[0x20, 5, 0, 0, 2, 0x24, 1], 0);
        connection.next_event().unwrap();
        let mut outflow = Outflow::new(Qos::ExactlyOnce, false, 10);
        assert!(matches!(outflow.up(false, &mut connection), Err(Fault::Invalid(text)) if text.contains("`qos: 1`")));
    }
}
