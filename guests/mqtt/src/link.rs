//! The connection to the broker over the host's network: reads, writes, waits, and connects again with growing pauses.

use std::time::{Duration, Instant};

use ferrule_sdk::metrics::Counter;
use ferrule_sdk::net::{NetError, TcpStream, Tls};
use ferrule_sdk::{Ended, Error, Wait, status};

use crate::backoff::Backoff;
use crate::connection::{Connection, Event, Fault};
use crate::packet::{self, Incoming};
use crate::parameters::{Broker, Parameters, digest};

static RECONNECTS: Counter = Counter::new("reconnects");

/// How long an attempt to connect may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// A connection that lasted so long, in milliseconds, was a good one.
const GOOD: u64 = 10_000;
/// How much is handed to the host at once.
const CHUNK: usize = 64 * 1024;

/// What goes over a link: the messages of a source or a sink.
pub trait Traffic {
    /// The broker accepted a connection.
    fn up(&mut self, session_present: bool, connection: &mut Connection) -> Result<(), Fault>;
    /// The connection is gone.
    fn down(&mut self, connection: &Connection);
    /// A packet came.
    fn packet(&mut self, packet: Incoming, connection: &mut Connection) -> Result<(), Fault>;
    /// Whether no more should be read for now.
    fn is_full(&self) -> bool {
        false
    }
    /// Puts what may go into the output.
    fn pump(&mut self, _connection: &mut Connection) -> Result<(), Fault> {
        Ok(())
    }
    /// Bytes went to the socket.
    fn wrote(&mut self, _connection: &Connection) {}
    /// Whether messages can go.
    fn is_ready(&self) -> bool;
}

/// How a link begins the sessions of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clean {
    /// On the first connection.
    pub first: bool,
    /// On later ones.
    pub later: bool,
}

/// A client and its connection, if it has one.
#[derive(Debug)]
pub struct Link {
    connection: Connection,
    stream: Option<TcpStream>,
    broker: Broker,
    clean: Clean,
    was_up: bool,
    up_since: u64,
    healthy: bool,
    backoff: Backoff,
    next_attempt: u64,
    epoch: Instant,
}

impl Link {
    /// A link that is not connected yet.
    pub fn new(parameters: &Parameters, stream: &str, clean: Clean) -> Result<Self, Error> {
        let broker = Broker::parse(&parameters.broker).map_err(|why| Error::invalid(format!("`broker`: {why}")))?;
        let seed = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as u64);
        Ok(Self {
            connection: Connection::new(parameters.connect_options(&broker, stream)),
            stream: None,
            clean,
            was_up: false,
            up_since: 0,
            healthy: false,
            backoff: Backoff::new(seed ^ digest(stream)),
            next_attempt: 0,
            epoch: Instant::now(),
            broker,
        })
    }

    /// The connection, to put something into it between two calls of [`run`](Self::run).
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Connects, and answers why not if the first attempt fails.
    pub fn open(&mut self, traffic: &mut impl Traffic, wait: &Wait) -> Result<(), Error> {
        while !traffic.is_ready() {
            match self.step(traffic, wait) {
                Ok(true) => {}
                Ok(false) if wait.is_woken() => return Err(Error::unavailable("interrupted while connecting")),
                Ok(false) => self.pause(traffic, wait, true),
                Err(Trouble::Fault(fault)) => {
                    return Err(match fault {
                        Fault::Broken(why) => Error::unavailable(format!("{}: {why}", self.address())),
                        Fault::Invalid(why) => Error::invalid(format!("{}: {why}", self.address())),
                    });
                }
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Woken) => return Err(Error::unavailable("interrupted while connecting")),
            }
        }
        self.tell_healthy();
        Ok(())
    }

    /// Services the connection until `done`, until the wait is over or until the host wants the call back; a broken connection
    /// is made again. Errors are those that no other attempt would mend.
    pub fn run<T: Traffic>(&mut self, traffic: &mut T, wait: &Wait, done: impl Fn(&T) -> bool) -> Result<Ended, Error> {
        self.serve(traffic, wait, true, done)
    }

    /// The same, but what comes does not end the pauses: it is left to gather until the wait is over, and then taken together.
    pub fn gather<T: Traffic>(
        &mut self,
        traffic: &mut T,
        wait: &Wait,
        done: impl Fn(&T) -> bool,
    ) -> Result<Ended, Error> {
        self.serve(traffic, wait, false, done)
    }

    fn serve<T: Traffic>(
        &mut self,
        traffic: &mut T,
        wait: &Wait,
        listening: bool,
        done: impl Fn(&T) -> bool,
    ) -> Result<Ended, Error> {
        loop {
            let progress = match self.step(traffic, wait) {
                Ok(progress) => progress,
                Err(Trouble::Woken) => return Ok(Ended::Woken),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Fault(Fault::Invalid(why))) => {
                    self.drop_connection(traffic);
                    return Err(Error::invalid(format!("{}: {why}", self.address())));
                }
                Err(Trouble::Fault(Fault::Broken(why))) => {
                    self.broke(traffic, &why);
                    false
                }
            };
            if !self.healthy && traffic.is_ready() {
                self.tell_healthy();
            }
            if done(traffic) {
                return Ok(Ended::Ready);
            }
            if wait.is_woken() {
                return Ok(Ended::Woken);
            }
            if wait.remaining().is_some_and(|left| left.is_zero()) {
                return Ok(Ended::Elapsed);
            }
            if !progress {
                self.pause(traffic, wait, listening);
            }
        }
    }

    /// One round without waiting, but for an attempt to connect: reads, does what is due, writes. Whether anything moved.
    fn step(&mut self, traffic: &mut impl Traffic, wait: &Wait) -> Result<bool, Trouble> {
        if self.stream.is_none() {
            if self.now() < self.next_attempt {
                return Ok(false);
            }
            self.connect(wait)?;
        }
        let mut progress = false;
        if !traffic.is_full() {
            let Some(stream) = &mut self.stream else { return Ok(false) };
            let bytes = stream.try_read()?;
            if !bytes.is_empty() {
                progress = true;
                self.connection.feed(&bytes, millis(self.epoch));
            }
        }
        while !traffic.is_full() {
            match self.connection.next_event()? {
                Some(Event::Up { session_present }) => {
                    self.was_up = true;
                    self.up_since = self.now();
                    traffic.up(session_present, &mut self.connection)?;
                }
                Some(Event::Packet(packet)) => traffic.packet(packet, &mut self.connection)?,
                None => break,
            }
        }
        self.connection.tick(self.now(), !traffic.is_full())?;
        loop {
            traffic.pump(&mut self.connection)?;
            if !self.write()? {
                break;
            }
            traffic.wrote(&self.connection);
            progress = true;
        }
        Ok(progress)
    }

    fn connect(&mut self, wait: &Wait) -> Result<(), Trouble> {
        // The end of the caller's wait does not count: on a slow link no attempt would ever come to its end.
        let limit = Wait::at_most(CONNECT_TIME);
        let tls = self.broker.tls.then(Tls::default);
        let stream = match TcpStream::connect_to(&self.broker.host, self.broker.port, tls.as_ref(), &limit) {
            Err(NetError::Woken) if wait.is_woken() => return Err(Trouble::Woken),
            other => other?,
        };
        self.stream = Some(stream);
        let clean = if self.was_up { self.clean.later } else { self.clean.first };
        self.connection.begin(clean, self.now())?;
        Ok(())
    }

    /// Gives the host what it takes at once. Whether it took anything.
    fn write(&mut self) -> Result<bool, Trouble> {
        let Some(stream) = &mut self.stream else { return Ok(false) };
        let before = stream.queued();
        let mut offered = 0;
        if before > 0 {
            stream.queue(&[])?;
        } else {
            let unwritten = self.connection.unwritten();
            offered = unwritten.len().min(CHUNK);
            if offered == 0 {
                return Ok(false);
            }
            stream.queue(&unwritten[..offered])?;
        }
        let written = before + offered - stream.queued();
        self.connection.took(offered);
        self.connection.wrote(written, millis(self.epoch));
        Ok(written > 0)
    }

    /// Writes what can be written without waiting. What goes wrong is found out by the next [`run`](Self::run).
    pub fn write_now(&mut self) {
        while matches!(self.write(), Ok(true)) {}
    }

    /// Waits for the socket, for what is due, for the end of `wait` or for the host. `listening`: also for what comes.
    fn pause(&self, traffic: &impl Traffic, wait: &Wait, listening: bool) {
        let now = self.now();
        let Some(stream) = &self.stream else {
            wait.and_at_most(Duration::from_millis(self.next_attempt.saturating_sub(now))).sleep();
            return;
        };
        let wait = match self.connection.deadline() {
            Some(due) => wait.and_at_most(Duration::from_millis(due.saturating_sub(now))),
            None => wait.clone(),
        };
        let mut pollables = Vec::with_capacity(2);
        if listening && !traffic.is_full() {
            pollables.push(stream.readable());
        }
        if stream.queued() > 0 || !self.connection.unwritten().is_empty() {
            pollables.push(stream.writable());
        }
        wait.on(&pollables);
    }

    fn broke(&mut self, traffic: &mut impl Traffic, why: &str) {
        let now = self.now();
        if self.connection.is_up() && now - self.up_since >= GOOD {
            self.backoff.reset();
        }
        self.drop_connection(traffic);
        let wait = self.backoff.next_wait();
        self.next_attempt = now + wait;
        self.healthy = false;
        RECONNECTS.add(1);
        let message = format!("{}: {why}; next attempt in {} s", self.address(), wait.div_ceil(1000));
        log::warn!("{message}");
        status::unhealthy(&message);
    }

    fn drop_connection(&mut self, traffic: &mut impl Traffic) {
        self.stream = None;
        traffic.down(&self.connection);
        self.connection.end();
    }

    fn tell_healthy(&mut self) {
        self.healthy = true;
        let message = format!("connected to {}", self.address());
        log::info!("{message}");
        status::healthy(&message);
    }

    /// Says goodbye, for as long as the broker takes it, but not long.
    pub fn close(&mut self) {
        if self.connection.is_up()
            && let Some(stream) = &mut self.stream
        {
            // Nothing depends on it: a broker that does not hear it notices the end of the connection.
            let _ = stream.queue(self.connection.unwritten());
            let _ = stream.queue(&packet::DISCONNECT);
            let _ = stream.flush(&Wait::at_most(Duration::from_secs(1)));
        }
        self.stream = None;
        self.connection.end();
    }

    fn address(&self) -> String {
        if self.broker.host.contains(':') {
            format!("broker [{}]:{}", self.broker.host, self.broker.port)
        } else {
            format!("broker {}:{}", self.broker.host, self.broker.port)
        }
    }

    fn now(&self) -> u64 {
        millis(self.epoch)
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

enum Trouble {
    Fault(Fault),
    Final(Error),
    Woken,
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<NetError> for Trouble {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Denied(_) | NetError::Invalid(_) | NetError::Unsupported(_) => Self::Final(error.into()),
            NetError::Woken => Self::Woken,
            NetError::Closed => Self::Fault(Fault::Broken("the broker closed the connection".into())),
            other => Self::Fault(Fault::Broken(other.to_string())),
        }
    }
}
