//! What a source does with messages, without I/O: a bounded inbox, tokens, and acknowledgements in the order of receipt.

use std::collections::{HashSet, VecDeque};

use ferrule_sdk::AckQueue;

use crate::connection::{Connection, Fault};
use crate::packet::{self, Ack, Incoming, Message, Qos, Version};

/// Reading stops while so many messages, or so many bytes of them, wait to be taken.
const INBOX_MESSAGES: usize = 8192;
const INBOX_BYTES: usize = 8 * 1024 * 1024;

const SUBSCRIBE_ID: u16 = 1;
const UNSUBSCRIBE_ID: u16 = 2;

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The broker accepted the subscriptions: messages may come.
    Subscribed,
    /// A message was too large and was left out.
    Oversized {
        /// Where it went.
        topic: String,
        /// Bytes of its packet.
        size: usize,
    },
}

#[derive(Debug)]
enum Waiting {
    Message(Message),
    /// Acknowledged in its turn, but given to nobody.
    Skipped {
        packet_id: u16,
        qos: Qos,
    },
}

#[derive(Debug)]
struct Held {
    packet_id: u16,
    qos: Qos,
}

/// The messages of one session.
#[derive(Debug)]
pub struct Intake {
    filters: Vec<String>,
    former: Vec<String>,
    qos: Qos,
    subscribed: bool,
    ready: bool,
    inbox: VecDeque<Waiting>,
    inbox_bytes: usize,
    held: AckQueue<Held>,
    released_later: HashSet<u16>,
    late: u64,
}

impl Intake {
    /// Subscribes to `filters`; `former` are those that an earlier session left with the broker.
    pub fn new(filters: Vec<String>, former: Vec<String>, qos: Qos) -> Self {
        let former = former.into_iter().filter(|filter| !filters.contains(filter)).collect();
        Self {
            filters,
            former,
            qos,
            subscribed: false,
            ready: false,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            held: AckQueue::new(),
            released_later: HashSet::new(),
            late: 0,
        }
    }

    /// Whether messages can come: connected and subscribed.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether no more should be read now.
    pub fn is_full(&self) -> bool {
        self.inbox.len() >= INBOX_MESSAGES || self.inbox_bytes >= INBOX_BYTES
    }

    /// Whether there is something to take.
    pub fn has_messages(&self) -> bool {
        self.ready && !self.inbox.is_empty()
    }

    /// How many taken records are not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.held.len()
    }

    /// How many settlements came for records of a connection that is gone, since this was last asked.
    pub fn take_late(&mut self) -> u64 {
        std::mem::take(&mut self.late)
    }

    /// The broker accepted a connection.
    pub fn up(&mut self, session_present: bool, connection: &mut Connection) -> Result<(), Fault> {
        if session_present {
            // The broker gives again what was not acknowledged.
            self.inbox.retain(|waiting| matches!(waiting, Waiting::Message(message) if message.packet_id() == 0));
        } else {
            self.released_later.clear();
            for waiting in &mut self.inbox {
                match waiting {
                    Waiting::Message(message) => message.orphan(),
                    Waiting::Skipped { packet_id, .. } => *packet_id = 0,
                }
            }
        }
        self.inbox_bytes = self.inbox.iter().map(size).sum();
        if session_present && self.subscribed {
            self.ready = true;
            return Ok(());
        }
        let version = connection.version();
        if session_present && !self.former.is_empty() {
            connection.send(&packet::unsubscribe(version, UNSUBSCRIBE_ID, &self.former).map_err(invalid_filters)?);
        }
        self.former.clear();
        connection.send(&packet::subscribe(version, SUBSCRIBE_ID, &self.filters, self.qos).map_err(invalid_filters)?);
        Ok(())
    }

    /// The connection is gone: what was taken and not settled cannot be acknowledged any more.
    pub fn down(&mut self) {
        self.ready = false;
        self.held.clear();
    }

    /// A packet came.
    pub fn packet(&mut self, packet: Incoming, connection: &mut Connection) -> Result<Option<Notice>, Fault> {
        match packet {
            Incoming::Publish(message) => {
                if message.qos() == Qos::ExactlyOnce && self.released_later.contains(&message.packet_id()) {
                    connection.send(&packet::ack(Ack::Pubrec, message.packet_id()));
                    return Ok(None);
                }
                self.inbox_bytes += message.size();
                self.inbox.push_back(Waiting::Message(message));
                // A broker gives again what a session left before it confirms the subscription, and the confirmation is behind more
                // than is read ahead: what came has to be taken first.
                self.ready |= self.is_full();
            }
            Incoming::Oversized { topic, packet_id, qos, size } => {
                self.inbox.push_back(Waiting::Skipped { packet_id, qos });
                return Ok(Some(Notice::Oversized { topic, size }));
            }
            Incoming::Ack { ack: Ack::Pubrel, packet_id, .. } => {
                self.released_later.remove(&packet_id);
                connection.send(&packet::ack(Ack::Pubcomp, packet_id));
            }
            Incoming::Suback { packet_id: SUBSCRIBE_ID, codes, reason } => {
                self.check_subscribed(connection.version(), &codes, reason.as_deref())?;
                self.subscribed = true;
                self.ready = true;
                return Ok(Some(Notice::Subscribed));
            }
            _ => {}
        }
        Ok(None)
    }

    fn check_subscribed(&self, version: Version, codes: &[u8], reason: Option<&str>) -> Result<(), Fault> {
        for (filter, code) in self.filters.iter().zip(codes) {
            if *code >= 0x80 {
                let why = match version {
                    Version::V3 => "not authorized, or not a filter it supports".to_owned(),
                    Version::V5 => packet::reason_text(*code, reason),
                };
                let text = format!("the broker refused the subscription to `{filter}`: {why}");
                let lasting = matches!(code, 0x8f | 0x9e | 0xa2);
                return Err(if lasting { Fault::Invalid(text) } else { Fault::Broken(text) });
            }
        }
        Ok(())
    }

    /// The message to take next.
    pub fn peek(&mut self) -> Option<&Message> {
        if !self.ready {
            return None;
        }
        while let Some(Waiting::Skipped { packet_id, qos }) = self.inbox.front() {
            let token = self.held.push(Held { packet_id: *packet_id, qos: *qos });
            self.held.settle(token);
            self.inbox.pop_front();
        }
        match self.inbox.front() {
            Some(Waiting::Message(message)) => Some(message),
            _ => None,
        }
    }

    /// Takes it, with the token by which it is settled.
    pub fn take(&mut self) -> Option<(u64, Message)> {
        self.peek()?;
        match self.inbox.pop_front() {
            Some(Waiting::Message(message)) => {
                self.inbox_bytes -= message.size();
                let token = self.held.push(Held { packet_id: message.packet_id(), qos: message.qos() });
                Some((token, message))
            }
            _ => None,
        }
    }

    /// Records are safe: acknowledges all of those before which nothing is unsettled.
    pub fn settle(&mut self, tokens: &[u64], connection: &mut Connection) {
        for token in tokens {
            if !self.held.settle(*token) {
                self.late += 1;
            }
        }
        self.acknowledge(connection);
    }

    /// Acknowledges what may be acknowledged.
    pub fn acknowledge(&mut self, connection: &mut Connection) {
        while let Some(held) = self.held.release() {
            if held.packet_id == 0 {
                continue;
            }
            match held.qos {
                Qos::AtMostOnce => {}
                Qos::AtLeastOnce => connection.send(&packet::ack(Ack::Puback, held.packet_id)),
                Qos::ExactlyOnce => {
                    self.released_later.insert(held.packet_id);
                    connection.send(&packet::ack(Ack::Pubrec, held.packet_id));
                }
            }
        }
    }
}

fn size(waiting: &Waiting) -> usize {
    match waiting {
        Waiting::Message(message) => message.size(),
        Waiting::Skipped { .. } => 0,
    }
}

fn invalid_filters(error: packet::Malformed) -> Fault {
    Fault::Invalid(format!("these topic filters cannot be subscribed to: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Event;
    use crate::connection::tests::{accept, accepted, drain};
    use crate::packet::Publish;

    fn deliver(intake: &mut Intake, connection: &mut Connection, id: u16, qos: Qos) {
        let mut bytes = Vec::new();
        let topic = format!("t/{id}");
        let message = Publish { topic: &topic, payload: b"x", qos, retain: false, packet_id: id, properties: &[] };
        packet::publish(connection.version(), &message, &mut bytes).unwrap();
        receive(intake, connection, &bytes);
    }

    fn receive(intake: &mut Intake, connection: &mut Connection, bytes: &[u8]) -> Vec<Notice> {
        connection.feed(bytes, 0);
        let mut notices = Vec::new();
        while let Some(event) = connection.next_event().unwrap() {
            let Event::Packet(packet) = event else { panic!("connected twice") };
            notices.extend(intake.packet(packet, connection).unwrap());
        }
        notices
    }

    fn subscribed(version: Version, qos: Qos) -> (Intake, Connection) {
        let mut connection = accepted(version, false);
        let mut intake = Intake::new(vec!["t/#".into()], Vec::new(), qos);
        intake.up(false, &mut connection).unwrap();
        assert_eq!(drain(&mut connection)[0], 0x82);
        let suback: &[u8] = if version == Version::V3 { &[0x90, 3, 0, 1, 1] } else { &[0x90, 4, 0, 1, 0, 1] };
        assert_eq!(receive(&mut intake, &mut connection, suback), [Notice::Subscribed]);
        (intake, connection)
    }

    fn take_all(intake: &mut Intake) -> Vec<(u64, String)> {
        std::iter::from_fn(|| intake.take()).map(|(token, message)| (token, message.topic().to_owned())).collect()
    }

    #[test]
    fn acknowledgements_go_in_the_order_of_receipt() {
        let (mut intake, mut connection) = subscribed(Version::V3, Qos::AtLeastOnce);
        for id in 10..13 {
            deliver(&mut intake, &mut connection, id, Qos::AtLeastOnce);
        }
        let taken = take_all(&mut intake);
        assert_eq!(taken.len(), 3);
        assert!(connection.unwritten().is_empty(), "nothing is acknowledged before it is settled");
        intake.settle(&[taken[2].0, taken[1].0], &mut connection);
        assert!(connection.unwritten().is_empty(), "nothing is acknowledged before what came earlier");
        intake.settle(&[taken[0].0], &mut connection);
        assert_eq!(drain(&mut connection), [0x40, 2, 0, 10, 0x40, 2, 0, 11, 0x40, 2, 0, 12]);
        assert_eq!(intake.unacknowledged(), 0);
    }

    #[test]
    fn exactly_once_is_released_once() {
        let (mut intake, mut connection) = subscribed(Version::V5, Qos::ExactlyOnce);
        deliver(&mut intake, &mut connection, 5, Qos::ExactlyOnce);
        let taken = take_all(&mut intake);
        intake.settle(&[taken[0].0], &mut connection);
        assert_eq!(drain(&mut connection), [0x50, 2, 0, 5]);
        // The PUBREC was lost: the broker sends the message again, and nobody gets it twice.
        deliver(&mut intake, &mut connection, 5, Qos::ExactlyOnce);
        assert_eq!(take_all(&mut intake), []);
        assert_eq!(drain(&mut connection), [0x50, 2, 0, 5]);
        receive(&mut intake, &mut connection, &[0x62, 2, 0, 5]);
        assert_eq!(drain(&mut connection), [0x70, 2, 0, 5]);
        // The identifier is free for another message.
        deliver(&mut intake, &mut connection, 5, Qos::ExactlyOnce);
        assert_eq!(take_all(&mut intake).len(), 1);
    }

    #[test]
    fn a_backlog_before_the_confirmation_is_taken() {
        let mut connection = accepted(Version::V3, true);
        let mut intake = Intake::new(vec!["t/#".into()], Vec::new(), Qos::AtLeastOnce);
        intake.up(true, &mut connection).unwrap();
        for id in 1..INBOX_MESSAGES as u16 {
            deliver(&mut intake, &mut connection, id, Qos::AtLeastOnce);
        }
        assert!(!intake.is_ready() && !intake.is_full());
        deliver(&mut intake, &mut connection, INBOX_MESSAGES as u16, Qos::AtLeastOnce);
        assert!(intake.is_ready() && intake.is_full(), "the confirmation is behind what is not read");
        assert_eq!(take_all(&mut intake).len(), INBOX_MESSAGES);
        assert_eq!(receive(&mut intake, &mut connection, &[0x90, 3, 0, 1, 1]), [Notice::Subscribed]);
    }

    #[test]
    fn after_a_reconnect_old_tokens_mean_nothing() {
        let (mut intake, mut connection) = subscribed(Version::V3, Qos::AtLeastOnce);
        for id in 1..=3 {
            deliver(&mut intake, &mut connection, id, Qos::AtLeastOnce);
        }
        let taken = [intake.take().unwrap().0, intake.take().unwrap().0];
        connection.end();
        intake.down();
        assert!(!intake.has_messages(), "what the broker gives again is not given twice");
        intake.settle(&taken, &mut connection);
        assert_eq!(intake.take_late(), 2);
        accept(&mut connection, true);
        intake.up(true, &mut connection).unwrap();
        assert!(connection.unwritten().is_empty(), "a session that is there needs no new subscription");
        assert!(intake.is_ready());
        for id in 1..=3 {
            deliver(&mut intake, &mut connection, id, Qos::AtLeastOnce);
        }
        let again = take_all(&mut intake);
        assert_eq!(again.len(), 3);
        assert!(again.iter().all(|(token, _)| !taken.contains(token)), "tokens are never used twice");
        intake.settle(&again.iter().map(|(token, _)| *token).collect::<Vec<_>>(), &mut connection);
        assert_eq!(drain(&mut connection).len(), 12);
    }

    #[test]
    fn messages_of_a_session_that_the_broker_lost_are_still_given() {
        let (mut intake, mut connection) = subscribed(Version::V3, Qos::AtLeastOnce);
        deliver(&mut intake, &mut connection, 1, Qos::AtLeastOnce);
        connection.end();
        intake.down();
        accept(&mut connection, false);
        intake.up(false, &mut connection).unwrap();
        assert_eq!(drain(&mut connection)[0], 0x82);
        receive(&mut intake, &mut connection, &[0x90, 3, 0, 1, 1]);
        let taken = take_all(&mut intake);
        assert_eq!(taken.len(), 1);
        intake.settle(&[taken[0].0], &mut connection);
        assert!(connection.unwritten().is_empty(), "the broker does not know the identifier any more");
    }

    #[test]
    fn a_flood_stops_the_reading() {
        let (mut intake, mut connection) = subscribed(Version::V3, Qos::AtMostOnce);
        for _ in 0..INBOX_MESSAGES {
            assert!(!intake.is_full());
            deliver(&mut intake, &mut connection, 0, Qos::AtMostOnce);
        }
        assert!(intake.is_full());
        intake.take().unwrap();
        assert!(!intake.is_full());
    }

    #[test]
    fn filters_of_an_earlier_session_are_given_up() {
        let mut connection = accepted(Version::V3, true);
        let mut intake = Intake::new(vec!["b".into()], vec!["a".into(), "b".into()], Qos::AtLeastOnce);
        intake.up(true, &mut connection).unwrap();
        assert_eq!(drain(&mut connection), [0xa2, 5, 0, 2, 0, 1, b'a', 0x82, 6, 0, 1, 0, 1, b'b', 1]);
    }

    #[test]
    fn a_refused_subscription_names_the_filter() {
        let mut connection = accepted(Version::V5, false);
        let mut intake = Intake::new(vec!["ok".into(), "secret/#".into()], Vec::new(), Qos::AtLeastOnce);
        intake.up(false, &mut connection).unwrap();
        connection.feed(&[0x90, 5, 0, 1, 0, 1, 0x87], 0);
        let Ok(Some(Event::Packet(packet))) = connection.next_event() else { panic!("no packet") };
        let Err(Fault::Broken(text)) = intake.packet(packet, &mut connection) else { panic!("accepted") };
        assert_eq!(text, "the broker refused the subscription to `secret/#`: not authorized (0x87)");
    }

    #[test]
    fn what_was_too_large_is_acknowledged_in_its_turn() {
        let (mut intake, mut connection) = subscribed(Version::V3, Qos::AtLeastOnce);
        deliver(&mut intake, &mut connection, 1, Qos::AtLeastOnce);
        let oversized =
            Incoming::Oversized { topic: "big".into(), packet_id: 2, qos: Qos::AtLeastOnce, size: 20_000_000 };
        assert!(intake.packet(oversized, &mut connection).unwrap().is_some());
        let taken = take_all(&mut intake);
        assert_eq!(taken.len(), 1);
        intake.acknowledge(&mut connection);
        assert!(connection.unwritten().is_empty());
        intake.settle(&[taken[0].0], &mut connection);
        assert_eq!(drain(&mut connection), [0x40, 2, 0, 1, 0x40, 2, 0, 2]);
    }
}
