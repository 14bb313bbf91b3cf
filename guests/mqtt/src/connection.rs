//! The client's side of one MQTT connection as a state machine: handshake, keep-alive, bytes in and bytes out. It does no I/O and
//! reads no clock; times are milliseconds of whatever monotonic clock the caller has.

use std::fmt;

use mqtt_protocol_core::mqtt::packet::Property;

use crate::packet::{self, Connack, ConnectOptions, Frames, Incoming, Malformed, Qos, Version};

/// How long the broker may take over its answers, in milliseconds.
const ANSWER_TIME: u64 = 10_000;

/// Why a connection is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is broken, or the broker ended it: another attempt may go better.
    Broken(String),
    /// The broker will never accept this, whatever the time.
    Invalid(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(text) | Self::Invalid(text) => f.write_str(text),
        }
    }
}

impl From<Malformed> for Fault {
    fn from(error: Malformed) -> Self {
        Self::Broken(format!("the peer does not speak MQTT as expected: {error}"))
    }
}

/// What the broker allows on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// How many messages of quality 1 and 2 may be in flight.
    pub receive_maximum: u16,
    /// The largest packet, in bytes.
    pub packet_size: usize,
    /// The highest quality of service.
    pub qos: Qos,
    /// Whether messages may be retained.
    pub retain: bool,
}

impl Default for Allowed {
    fn default() -> Self {
        Self { receive_maximum: u16::MAX, packet_size: 268_435_460, qos: Qos::ExactlyOnce, retain: true }
    }
}

/// What came of the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The broker accepted the connection.
    Up {
        /// It knows the session from before.
        session_present: bool,
    },
    /// A packet of an accepted connection.
    Packet(Incoming),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Down,
    Greeting,
    Up,
}

/// One connection after another of the same client.
#[derive(Debug)]
pub struct Connection {
    options: ConnectOptions,
    state: State,
    frames: Frames,
    output: Vec<u8>,
    start: usize,
    taken: u64,
    written: u64,
    keep_alive: u64,
    last_sent: u64,
    last_received: u64,
    waiting_since: Option<u64>,
    allowed: Allowed,
}

impl Connection {
    /// A client that is not connected.
    pub fn new(options: ConnectOptions) -> Self {
        Self {
            options,
            state: State::Down,
            frames: Frames::default(),
            output: Vec::new(),
            start: 0,
            taken: 0,
            written: 0,
            keep_alive: 0,
            last_sent: 0,
            last_received: 0,
            waiting_since: None,
            allowed: Allowed::default(),
        }
    }

    /// The version that is spoken.
    pub fn version(&self) -> Version {
        self.options.version
    }

    /// Whether the broker accepted the connection.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// What the broker allows.
    pub fn allowed(&self) -> Allowed {
        self.allowed
    }

    /// Begins on a fresh byte stream: CONNECT goes first.
    pub fn begin(&mut self, clean: bool, now: u64) -> Result<(), Fault> {
        self.end();
        let options = ConnectOptions { clean, ..self.options.clone() };
        self.output = packet::connect(&options)
            .map_err(|error| Fault::Invalid(format!("cannot connect with these parameters: {error}")))?;
        self.state = State::Greeting;
        self.keep_alive = u64::from(self.options.keep_alive) * 1000;
        self.last_sent = now;
        self.last_received = now;
        self.waiting_since = Some(now);
        Ok(())
    }

    /// Forgets the byte stream: what was not written is gone.
    pub fn end(&mut self) {
        self.state = State::Down;
        self.frames.clear();
        self.output.clear();
        self.start = 0;
        self.written = self.taken;
        self.waiting_since = None;
        self.allowed = Allowed::default();
    }

    /// Adds bytes from the broker.
    pub fn feed(&mut self, bytes: &[u8], now: u64) {
        self.last_received = now;
        if self.state == State::Up {
            self.waiting_since = None;
        }
        self.frames.feed(bytes);
    }

    /// The next event of the bytes fed so far.
    pub fn next_event(&mut self) -> Result<Option<Event>, Fault> {
        let Some(packet) = self.frames.next(self.options.version)? else { return Ok(None) };
        match (self.state, packet) {
            (State::Greeting, Incoming::Connack(connack)) => self.greeted(&connack).map(Some),
            (State::Greeting, _) => {
                Err(Fault::Broken("the broker sent something before it accepted the connection".into()))
            }
            (State::Up, Incoming::Disconnect { code, reason }) => Err(Fault::Broken(format!(
                "the broker ended the connection: {}",
                packet::reason_text(code, reason.as_deref())
            ))),
            (State::Up, Incoming::Connack(_)) => Err(Fault::Broken("the broker accepted the connection twice".into())),
            (State::Up, packet) => Ok(Some(Event::Packet(packet))),
            (State::Down, _) => Ok(None),
        }
    }

    fn greeted(&mut self, connack: &Connack) -> Result<Event, Fault> {
        if connack.code != 0 {
            return Err(refused(self.options.version, connack));
        }
        self.state = State::Up;
        self.waiting_since = None;
        let mut allowed = Allowed::default();
        for property in &connack.properties {
            match property {
                Property::ReceiveMaximum(value) => allowed.receive_maximum = value.val().max(1),
                Property::MaximumPacketSize(value) => allowed.packet_size = value.val() as usize,
                Property::MaximumQos(value) => allowed.qos = Qos::from_number(value.val()).unwrap_or(Qos::ExactlyOnce),
                Property::RetainAvailable(value) => allowed.retain = value.val() != 0,
                Property::ServerKeepAlive(value) => self.keep_alive = u64::from(value.val()) * 1000,
                _ => {}
            }
        }
        self.allowed = allowed;
        Ok(Event::Up { session_present: connack.session_present })
    }

    /// Adds bytes for the broker.
    pub fn send(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Writes a packet for the broker in place.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// The bytes that nobody took yet to write them.
    pub fn unwritten(&self) -> &[u8] {
        &self.output[self.start..]
    }

    /// So many of them were taken to be written.
    pub fn took(&mut self, count: usize) {
        self.start += count;
        self.taken += count as u64;
        if self.start >= self.output.len() {
            self.output.clear();
            self.start = 0;
        } else if self.start > 256 * 1024 {
            self.output.drain(..self.start);
            self.start = 0;
        }
    }

    /// So many bytes of those taken went to the socket.
    pub fn wrote(&mut self, count: usize, now: u64) {
        if count > 0 {
            self.written += count as u64;
            self.last_sent = now;
        }
    }

    /// How many bytes went to the socket since this client was made, over all connections.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// How many bytes will have gone to the socket once nothing waits.
    pub fn queued(&self) -> u64 {
        self.taken + self.unwritten().len() as u64
    }

    /// Does what is due by now: pings a broker that neither hears nor says anything, and gives up one that does not answer.
    /// `reading` says whether everything that came was looked at; an answer may be hidden behind what was not.
    pub fn tick(&mut self, now: u64, reading: bool) -> Result<(), Fault> {
        if let Some(since) = self.waiting_since {
            if !reading {
                self.waiting_since = Some(now);
            } else if now >= since + ANSWER_TIME {
                let what = if self.state == State::Greeting { "connecting" } else { "a ping" };
                return Err(Fault::Broken(format!("the broker did not answer {what} within {} s", ANSWER_TIME / 1000)));
            }
        }
        if self.state == State::Up && self.keep_alive > 0 && self.waiting_since.is_none() && now >= self.ping_due() {
            self.output.extend_from_slice(&packet::PINGREQ);
            self.waiting_since = Some(now);
            self.last_sent = now;
        }
        Ok(())
    }

    fn ping_due(&self) -> u64 {
        self.last_sent.min(self.last_received) + self.keep_alive * 3 / 4
    }

    /// When `tick` has something to do.
    pub fn deadline(&self) -> Option<u64> {
        match (self.state, self.waiting_since) {
            (State::Down, _) => None,
            (_, Some(since)) => Some(since + ANSWER_TIME),
            (_, None) if self.keep_alive > 0 => Some(self.ping_due()),
            _ => None,
        }
    }
}

fn refused(version: Version, connack: &Connack) -> Fault {
    let reason = connack.properties.iter().find_map(|property| match property {
        Property::ReasonString(reason) => Some(reason.val().to_owned()),
        _ => None,
    });
    let (text, lasting) = match (version, connack.code) {
        (Version::V3, 1) => ("it does not speak this version; try `version: \"5.0\"`".to_owned(), true),
        (Version::V3, 2) => ("it does not allow this client-id".to_owned(), true),
        (Version::V3, 3) => ("it is not available".to_owned(), false),
        (Version::V3, 4) => ("bad user name or password".to_owned(), false),
        (Version::V3, 5) => ("not authorized".to_owned(), false),
        // A broker that only speaks 3.1.1 answers in its own way.
        (Version::V5, 1 | 0x84) => ("it does not speak this version; try `version: \"3.1.1\"`".to_owned(), true),
        (_, code) => (packet::reason_text(code, reason.as_deref()), matches!(code, 0x81 | 0x82 | 0x85 | 0x8c)),
    };
    let text = format!("the broker refused the connection: {text}");
    if lasting { Fault::Invalid(text) } else { Fault::Broken(text) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A connection that the broker accepted at time 0, everything written.
    pub(crate) fn accepted(version: Version, session_present: bool) -> Connection {
        let mut connection =
            Connection::new(ConnectOptions { version, client_id: "c".into(), keep_alive: 60, ..Default::default() });
        accept(&mut connection, session_present);
        connection
    }

    /// Brings a connection up and forgets what it wrote.
    pub(crate) fn accept(connection: &mut Connection, session_present: bool) {
        connection.begin(false, 0).unwrap();
        drain(connection);
        let present = u8::from(session_present);
        match connection.version() {
            Version::V3 => connection.feed(&[0x20, 2, present, 0], 0),
            Version::V5 => connection.feed(&[0x20, 3, present, 0, 0], 0),
        }
        assert_eq!(connection.next_event(), Ok(Some(Event::Up { session_present })));
    }

    /// What the connection wants to write, as written.
    pub(crate) fn drain(connection: &mut Connection) -> Vec<u8> {
        let bytes = connection.unwritten().to_vec();
        connection.took(bytes.len());
        connection.wrote(bytes.len(), 0);
        bytes
    }

    #[test]
    fn a_quiet_connection_is_kept_alive() {
        let mut connection = accepted(Version::V3, false);
        assert_eq!(connection.deadline(), Some(45_000));
        connection.tick(44_999, true).unwrap();
        assert!(connection.unwritten().is_empty());
        connection.tick(45_000, true).unwrap();
        assert_eq!(drain(&mut connection), packet::PINGREQ);
        assert_eq!(connection.deadline(), Some(55_000));
        connection.feed(&[0xd0, 0], 45_010);
        assert_eq!(connection.next_event(), Ok(Some(Event::Packet(Incoming::Pingresp))));
        connection.tick(60_000, true).unwrap();
        assert!(connection.is_up());
    }

    #[test]
    fn a_broker_that_hears_but_says_nothing_is_pinged_and_given_up() {
        let mut connection = accepted(Version::V3, false);
        for second in 1..=45 {
            connection.send(&[0x30, 3, 0, 1, b'a']);
            let waiting = connection.unwritten().len();
            connection.took(waiting);
            connection.wrote(waiting, second * 1000);
        }
        connection.tick(45_000, true).unwrap();
        assert_eq!(drain(&mut connection), packet::PINGREQ);
        assert!(
            matches!(connection.tick(55_000, true), Err(Fault::Broken(text)) if text.contains("did not answer a ping"))
        );
    }

    #[test]
    fn an_answer_that_may_be_unread_is_waited_for() {
        let mut connection = accepted(Version::V3, false);
        connection.tick(45_000, false).unwrap();
        assert_eq!(drain(&mut connection), packet::PINGREQ);
        connection.tick(300_000, false).unwrap();
        connection.tick(309_000, true).unwrap();
        assert!(connection.tick(310_000, true).is_err());
    }

    #[test]
    fn refusals_say_what_to_do() {
        let mut connection =
            Connection::new(ConnectOptions { version: Version::V5, client_id: "c".into(), ..Default::default() });
        connection.begin(true, 0).unwrap();
        connection.feed(&[0x20, 2, 0, 1], 0);
        assert!(matches!(connection.next_event(), Err(Fault::Invalid(text)) if text.contains("3.1.1")));
        let mut connection = Connection::new(ConnectOptions { client_id: "c".into(), ..Default::default() });
        connection.begin(true, 0).unwrap();
        connection.feed(&[0x20, 2, 0, 4], 0);
        assert!(matches!(connection.next_event(), Err(Fault::Broken(text)) if text.contains("password")));
    }

    #[test]
    fn the_brokers_limits_hold() {
        let mut connection = Connection::new(ConnectOptions {
            version: Version::V5,
            client_id: "c".into(),
            keep_alive: 60,
            ..Default::default()
        });
        connection.begin(true, 0).unwrap();
        // Receive maximum 3, maximum packet size 100, maximum QoS 1, retain not available, server keep-alive 8.
        connection.feed(&[0x20, 18, 0, 0, 15, 0x21, 0, 3, 0x27, 0, 0, 0, 100, 0x24, 1, 0x25, 0, 0x13, 0, 8], 0);
        assert_eq!(connection.next_event(), Ok(Some(Event::Up { session_present: false })));
        assert_eq!(
            connection.allowed(),
            Allowed { receive_maximum: 3, packet_size: 100, qos: Qos::AtLeastOnce, retain: false }
        );
        assert_eq!(connection.deadline(), Some(6_000));
    }

    #[test]
    fn a_broker_that_never_answers_is_given_up() {
        let mut connection = Connection::new(ConnectOptions { client_id: "c".into(), ..Default::default() });
        connection.begin(true, 5).unwrap();
        assert_eq!(connection.deadline(), Some(10_005));
        assert!(connection.tick(10_004, true).is_ok());
        assert!(connection.tick(10_005, true).is_err());
    }
}
