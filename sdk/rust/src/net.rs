//! Connections over the host: reads and writes that look blocking, have a deadline, and end when the host wants the call back.
//!
//! A connection lives in the source or sink from one call to the next.

use std::fmt;
use std::io;

use wasip2::io::poll::Pollable;
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use crate::bindings::ferrule::connector::net as host;
use crate::error::Error;
use crate::lines::LineBuffer;
use crate::wait::{Ended, Wait};

/// How much is asked of the host at once.
const CHUNK: u64 = 64 * 1024;

/// The longest line of [`TcpStream::read_line`]: the host's default for the largest record.
const LONGEST_LINE: usize = 1024 * 1024;

/// Why a connection did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetError {
    /// The host does not allow it; the text says what to write where.
    Denied(String),
    /// The name has no address.
    UnknownName(String),
    /// Nobody answers, or the connection broke.
    Unreachable(String),
    /// Not to be had in this version of the host.
    Unsupported(String),
    /// Host, port or options make no sense.
    Invalid(String),
    /// The peer closed the connection.
    Closed,
    /// The time was over first.
    Elapsed,
    /// The host wants the call back.
    Woken,
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denied(why)
            | Self::UnknownName(why)
            | Self::Unreachable(why)
            | Self::Unsupported(why)
            | Self::Invalid(why) => why,
            Self::Closed => "the peer closed the connection",
            Self::Elapsed => "no answer in time",
            Self::Woken => "interrupted by the host",
        })
    }
}

impl std::error::Error for NetError {}

impl From<NetError> for Error {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Denied(why) => Self::Denied(why),
            NetError::Invalid(why) => Self::Invalid(why),
            NetError::Unsupported(why) => Self::Failed(why),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<NetError> for io::Error {
    fn from(error: NetError) -> Self {
        let kind = match error {
            NetError::Denied(_) => io::ErrorKind::PermissionDenied,
            NetError::UnknownName(_) => io::ErrorKind::NotFound,
            NetError::Unreachable(_) => io::ErrorKind::ConnectionReset,
            NetError::Unsupported(_) => io::ErrorKind::Unsupported,
            NetError::Invalid(_) => io::ErrorKind::InvalidInput,
            NetError::Closed => io::ErrorKind::UnexpectedEof,
            NetError::Elapsed => io::ErrorKind::TimedOut,
            // Not `Interrupted`: std would try again at once, and again, until the host loses its patience.
            NetError::Woken => io::ErrorKind::WouldBlock,
        };
        Self::new(kind, error)
    }
}

impl From<host::Failure> for NetError {
    fn from(failure: host::Failure) -> Self {
        match failure {
            host::Failure::Denied(why) => Self::Denied(why),
            host::Failure::UnknownName(why) => Self::UnknownName(why),
            host::Failure::Unreachable(why) => Self::Unreachable(why),
            host::Failure::Unsupported(why) => Self::Unsupported(why),
            host::Failure::Invalid(why) => Self::Invalid(why),
        }
    }
}

impl From<StreamError> for NetError {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Closed => Self::Closed,
            StreamError::LastOperationFailed(error) => Self::Unreachable(error.to_debug_string()),
        }
    }
}

/// TLS by the host: no key or certificate enters the guest.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The name that the certificate must carry; none: the host connected to.
    pub server_name: Option<String>,
    /// Protocols to offer (ALPN), in order.
    pub protocols: Vec<String>,
    /// Further options by name.
    pub properties: Vec<(String, String)>,
}

/// Splits `host:port`; an IPv6 address stands in brackets.
pub fn split_address(address: &str) -> Result<(&str, u16), NetError> {
    let wrong = || NetError::Invalid(format!("`{address}` is not an address: expected `host:port`"));
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().map_err(|_| wrong())?;
    if host.is_empty() || port == 0 { Err(wrong()) } else { Ok((host, port)) }
}

/// The addresses of a name that may be connected to, best first.
pub fn resolve(name: &str) -> Result<Vec<String>, NetError> {
    Ok(host::resolve(name)?)
}

/// A TCP connection, with TLS if asked for.
///
/// Its parts are dropped from the first to the last, which the contract wants: pollables, streams, connection.
#[derive(Debug)]
pub struct TcpStream {
    readable: Pollable,
    writable: Pollable,
    input: InputStream,
    output: OutputStream,
    connection: host::Connection,
    received: LineBuffer,
    queued: Vec<u8>,
    ended: bool,
}

impl TcpStream {
    /// Connects to `host:port`.
    pub fn connect(address: &str, wait: &Wait) -> Result<Self, NetError> {
        let (host, port) = split_address(address)?;
        Self::connect_to(host, port, None, wait)
    }

    /// Connects to a port of a host, over TLS if options for it are given.
    pub fn connect_to(host: &str, port: u16, tls: Option<&Tls>, wait: &Wait) -> Result<Self, NetError> {
        let tls = tls.cloned().map(|tls| host::TlsOptions {
            server_name: tls.server_name,
            protocols: tls.protocols,
            properties: tls.properties,
        });
        let connecting = host::connect(host, port, tls.as_ref())?;
        // Declared after what it belongs to, so dropped before.
        let ready = connecting.subscribe();
        loop {
            if let Some(answer) = connecting.finish() {
                return Ok(Self::new(answer?));
            }
            pause(wait, &[&ready])?;
        }
    }

    fn new(connection: host::Connection) -> Self {
        let (input, output) = (connection.input(), connection.output());
        Self {
            readable: input.subscribe(),
            writable: output.subscribe(),
            input,
            output,
            connection,
            received: LineBuffer::new(LONGEST_LINE),
            queued: Vec::new(),
            ended: false,
        }
    }

    /// The peer's address, as `address:port`.
    pub fn peer(&self) -> String {
        self.connection.peer()
    }

    /// Ready when there is something to read: to wait on several connections at once with [`Wait::on`].
    pub fn readable(&self) -> &Pollable {
        &self.readable
    }

    /// Ready when something queued can be written.
    pub fn writable(&self) -> &Pollable {
        &self.writable
    }

    /// What has arrived, at most 64 KiB; without waiting, so possibly nothing.
    pub fn try_read(&mut self) -> Result<Vec<u8>, NetError> {
        if !self.received.is_empty() {
            return Ok(self.received.take_all());
        }
        self.receive()
    }

    fn receive(&mut self) -> Result<Vec<u8>, NetError> {
        if self.ended {
            return Err(NetError::Closed);
        }
        self.input.read(CHUNK).map_err(|error| {
            self.ended = true;
            error.into()
        })
    }

    /// The next bytes, at least one; an orderly end of the connection is [`NetError::Closed`].
    pub fn read_some(&mut self, wait: &Wait) -> Result<Vec<u8>, NetError> {
        loop {
            let bytes = self.try_read()?;
            if !bytes.is_empty() {
                return Ok(bytes);
            }
            self.ready_to_read(wait)?;
        }
    }

    /// Reads into `into`, at least one byte; 0 at an orderly end of the connection.
    pub fn read(&mut self, into: &mut [u8], wait: &Wait) -> Result<usize, NetError> {
        while self.received.is_empty() && !into.is_empty() {
            match self.receive() {
                Ok(bytes) if bytes.is_empty() => self.ready_to_read(wait)?,
                Ok(bytes) => self.received.extend(&bytes),
                Err(NetError::Closed) => return Ok(0),
                Err(error) => return Err(error),
            }
        }
        Ok(self.received.take(into))
    }

    /// The next line without its end; none if none is complete by the end of `wait`, and what has come is kept. The end of
    /// the connection is [`NetError::Closed`]; a last line without an end is given before it.
    pub fn read_line(&mut self, wait: &Wait) -> Result<Option<&[u8]>, NetError> {
        while !self.received.has_line() {
            match self.receive() {
                Ok(bytes) if bytes.is_empty() => match self.ready_to_read(wait) {
                    Err(NetError::Elapsed | NetError::Woken) => return Ok(None),
                    other => other?,
                },
                Ok(bytes) => self.received.extend(&bytes),
                Err(NetError::Closed) if !self.received.is_empty() => return Ok(self.received.rest()),
                Err(error) => return Err(error),
            }
        }
        Ok(self.received.next_line().map(|(line, _)| line))
    }

    /// Waits until there is something to read; meanwhile what is queued goes out.
    pub fn ready_to_read(&mut self, wait: &Wait) -> Result<(), NetError> {
        loop {
            if self.push_queued()? {
                return pause(wait, &[&self.readable]);
            }
            pause(wait, &[&self.readable, &self.writable])?;
            if self.readable.ready() {
                return Ok(());
            }
        }
    }

    /// Queues bytes and writes what the host takes at once. The rest goes out with the next [`flush`](Self::flush), or while
    /// something is read.
    pub fn queue(&mut self, bytes: &[u8]) -> Result<(), NetError> {
        if self.queued.is_empty() {
            let taken = self.push(bytes)?;
            self.queued.extend_from_slice(&bytes[taken..]);
        } else {
            self.queued.extend_from_slice(bytes);
            self.push_queued()?;
        }
        Ok(())
    }

    /// How many bytes are queued.
    pub fn queued(&self) -> usize {
        self.queued.len()
    }

    /// Writes what is queued. Interrupted, it keeps the rest and can be called again.
    pub fn flush(&mut self, wait: &Wait) -> Result<(), NetError> {
        while !self.push_queued()? {
            pause(wait, &[&self.writable])?;
        }
        Ok(())
    }

    /// Writes all bytes. Interrupted, what is not written stays queued: not to be written again, but flushed.
    pub fn write_all(&mut self, bytes: &[u8], wait: &Wait) -> Result<(), NetError> {
        self.queue(bytes)?;
        self.flush(wait)
    }

    /// Whether nothing is queued any more.
    fn push_queued(&mut self) -> Result<bool, NetError> {
        if !self.queued.is_empty() {
            let queued = std::mem::take(&mut self.queued);
            let taken = self.push(&queued)?;
            self.queued = queued;
            self.queued.drain(..taken);
        }
        Ok(self.queued.is_empty())
    }

    fn push(&mut self, bytes: &[u8]) -> Result<usize, NetError> {
        let mut taken = 0;
        while taken < bytes.len() {
            let room = usize::try_from(self.output.check_write()?).unwrap_or(usize::MAX);
            if room == 0 {
                break;
            }
            let part = &bytes[taken..bytes.len().min(taken.saturating_add(room))];
            self.output.write(part)?;
            taken += part.len();
        }
        Ok(taken)
    }

    /// As `std::io::Read` and `std::io::Write`, for libraries that want those. The end of the wait is
    /// [`io::ErrorKind::TimedOut`], a wake-up [`io::ErrorKind::WouldBlock`].
    pub fn io<'a>(&'a mut self, wait: &'a Wait) -> Io<'a> {
        Io { stream: self, wait }
    }
}

fn pause(wait: &Wait, pollables: &[&Pollable]) -> Result<(), NetError> {
    match wait.on(pollables) {
        Ended::Ready => Ok(()),
        Ended::Elapsed => Err(NetError::Elapsed),
        Ended::Woken => Err(NetError::Woken),
    }
}

/// A connection as `std::io::Read` and `std::io::Write`.
#[derive(Debug)]
pub struct Io<'a> {
    stream: &'a mut TcpStream,
    wait: &'a Wait,
}

impl io::Read for Io<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(self.stream.read(into, self.wait)?)
    }
}

impl io::Write for Io<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.queue(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.stream.flush(self.wait)?)
    }
}

/// A listening port. Needs the capability `listen`.
#[derive(Debug)]
pub struct TcpListener {
    ready: Pollable,
    listener: host::Listener,
}

impl TcpListener {
    /// Listens on `address:port`.
    pub fn bind(address: &str) -> Result<Self, NetError> {
        let (host, port) = split_address(address)?;
        let listener = host::listen(host, port)?;
        Ok(Self { ready: listener.subscribe(), listener })
    }

    /// The next connection.
    pub fn accept(&self, wait: &Wait) -> Result<TcpStream, NetError> {
        loop {
            if let Some(answer) = self.listener.accept() {
                return Ok(TcpStream::new(answer?));
            }
            pause(wait, &[&self.ready])?;
        }
    }

    /// Ready when [`accept`](Self::accept) has an answer.
    pub fn ready(&self) -> &Pollable {
        &self.ready
    }

    /// The local address, as `address:port`.
    pub fn local(&self) -> String {
        self.listener.local()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split() {
        assert_eq!(split_address("broker.example:1883"), Ok(("broker.example", 1883)));
        assert_eq!(split_address("[::1]:80"), Ok(("::1", 80)));
        for wrong in ["broker", ":80", "broker:", "broker:0", "broker:65536", ""] {
            assert!(matches!(split_address(wrong), Err(NetError::Invalid(_))), "{wrong}");
        }
    }

    #[test]
    fn each_failure_leads_to_its_own_action() {
        assert_eq!(Error::from(NetError::Denied("no".into())), Error::Denied("no".into()));
        assert_eq!(Error::from(NetError::Closed), Error::unavailable("the peer closed the connection"));
        assert_eq!(io::Error::from(NetError::Woken).kind(), io::ErrorKind::WouldBlock);
    }
}
