//! Connections, and connections being made. At most one chunk is read ahead of the guest, and only when it asks for readiness.
//!
//! A socket is watched for events only while somebody waits for it: else each segment that comes would wake the process, also
//! while a guest lets them gather.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use ferrule_model::capability::AbilityKind;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_rustls::client::TlsStream;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use super::gate::{Destination, Door, Failure, Gate};
use super::quota::{Permit, Tally};
use super::tls::{Talk, TlsOptions};
use super::wire::Wire;

/// Bytes read or taken for writing at once. Threat: a guest asks for a buffer of any size. Larger ones gain nothing.
const CHUNK: usize = 64 << 10;

/// How long bytes that a guest has written may still go out after it let go of the connection. Threat: a peer that reads
/// nothing keeps the socket.
const LINGER: Duration = Duration::from_secs(5);

thread_local! {
    /// What is read goes through here, so that a few bytes take no buffer of a whole chunk.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into_boxed_slice());
}

/// An open connection. Its two directions are taken once each.
pub struct Connection {
    input: Option<Wire>,
    output: Option<Sending>,
    peer: SocketAddr,
}

impl Connection {
    pub(super) fn new(stream: tokio::net::TcpStream, tally: Tally) -> io::Result<Self> {
        Ok(Self::over(Wire::plain(stream.into_std()?, tally)))
    }

    fn encrypted((stream, talk): (TlsStream<tokio::net::TcpStream>, Talk), tally: Tally) -> io::Result<Self> {
        let (stream, tls) = stream.into_inner();
        Ok(Self::over(Wire::encrypted(stream.into_std()?, tls, talk, tally)))
    }

    fn over(wire: Wire) -> Self {
        let peer = wire.socket().peer_addr().unwrap_or_else(|_| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        Self { input: Some(wire.clone()), output: Some(Sending(wire)), peer }
    }

    pub(crate) fn take_input(&mut self) -> wasmtime::Result<DynInputStream> {
        let half = self.input.take().ok_or_else(|| wasmtime::format_err!("`connection.input` was called twice"))?;
        Ok(Box::new(Input { half: Some(half), ahead: Bytes::new(), error: None }))
    }

    pub(crate) fn take_output(&mut self) -> wasmtime::Result<DynOutputStream> {
        let half = self.output.take().ok_or_else(|| wasmtime::format_err!("`connection.output` was called twice"))?;
        Ok(Box::new(Output { state: State::Idle(half), permit: 0 }))
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }
}

async fn connect(
    gate: &Gate,
    destination: &Destination,
    tls: Option<TlsOptions>,
    permit: Permit,
) -> Result<Connection, Failure> {
    let stream = gate.dial(destination).await?;
    let tally = Tally::new(permit, gate.traffic(destination));
    let connection = match tls {
        None => Connection::new(stream, tally),
        Some(options) => Connection::encrypted(gate.encrypt(destination, &options, stream).await?, tally),
    };
    connection.map_err(|error| Failure::Unreachable(format!("the connection cannot be used: {error}")))
}

/// Watches a socket for events until it is dropped.
#[expect(
    deprecated,
    reason = "what takes its place is `unsafe` and asks that the descriptor stays the same, as this one's does"
)]
fn watch(socket: Arc<TcpStream>, interest: Interest) -> io::Result<AsyncFd<Arc<TcpStream>>> {
    AsyncFd::with_interest(socket, interest)
}

/// The direction to the peer, which is told the end when this is dropped.
struct Sending(Wire);

impl Sending {
    /// Writes all of it, and waits where it must.
    async fn write_all(&self, mut bytes: Bytes) -> io::Result<()> {
        // One descriptor is watched once only, and the other direction may be waited for at the same time.
        let socket = watch(Arc::new(self.0.socket().try_clone()?), Interest::WRITABLE)?;
        while !bytes.is_empty() || self.0.keeps() {
            let written = socket.async_io(Interest::WRITABLE, |_| self.0.write(&bytes)).await?;
            if written == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes.advance(written);
        }
        Ok(())
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A connection being made in the background; given up when it is dropped.
pub struct Connecting {
    task: AbortHandle,
    waiting: oneshot::Receiver<Result<Connection, Failure>>,
    answer: Option<Result<Connection, Failure>>,
}

impl Connecting {
    pub(crate) fn start(gate: &Arc<Gate>, host: &str, port: u16, tls: Option<TlsOptions>) -> Result<Self, Failure> {
        let kind = if tls.is_some() { AbilityKind::Tls } else { AbilityKind::Tcp };
        let destination = gate.check_name(Door::Net, kind, host, port)?;
        let permit = gate.socket()?;
        let (answer, waiting) = oneshot::channel();
        let gate = gate.clone();
        let task = tokio::spawn(async move {
            // Nobody to answer means that the guest gave up.
            let _ = answer.send(connect(&gate, &destination, tls, permit).await);
        });
        Ok(Self { task: task.abort_handle(), waiting, answer: None })
    }

    pub(crate) fn finish(&mut self) -> Option<Result<Connection, Failure>> {
        self.answer.take().or_else(|| self.waiting.try_recv().ok())
    }
}

#[async_trait::async_trait]
impl Pollable for Connecting {
    async fn ready(&mut self) {
        if self.answer.is_none()
            && let Ok(answer) = (&mut self.waiting).await
        {
            self.answer = Some(answer);
        }
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Bytes from the peer. It is ready only when there are bytes or the end: readiness of the socket alone may be stale, and a
/// guest woken by it would return from its call with nothing.
struct Input {
    half: Option<Wire>,
    /// What was found when readiness was asked for, not yet read by the guest.
    ahead: Bytes,
    error: Option<io::Error>,
}

impl Input {
    /// Takes what the socket has, at most `size` bytes; nothing when it has nothing now.
    fn take(&mut self, size: usize) -> Bytes {
        let Some(half) = &self.half else { return Bytes::new() };
        let answer = SCRATCH.with_borrow_mut(|scratch| {
            let size = size.min(scratch.len());
            let read = half.read(&mut scratch[..size])?;
            Ok(Bytes::copy_from_slice(&scratch[..read]))
        });
        match answer {
            Ok(bytes) => {
                if bytes.is_empty() {
                    self.half = None;
                }
                bytes
            }
            Err(error) => {
                if !is_transient(&error) {
                    self.fail(error);
                }
                Bytes::new()
            }
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.half = None;
        self.error = Some(error);
    }
}

/// Whether it is no fault of the connection.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let size = size.min(CHUNK);
        if size == 0 {
            return Ok(Bytes::new());
        }
        if !self.ahead.is_empty() {
            return Ok(self.ahead.split_to(size.min(self.ahead.len())));
        }
        let bytes = self.take(size);
        match self.error.take() {
            _ if !bytes.is_empty() => Ok(bytes),
            Some(error) => Err(StreamError::LastOperationFailed(error.into())),
            None if self.half.is_none() => Err(StreamError::Closed),
            None => Ok(bytes),
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        while self.ahead.is_empty() {
            self.ahead = self.take(CHUNK);
            let Some(half) = self.half.clone().filter(|_| self.ahead.is_empty()) else { return };
            match watch(half.socket().clone(), Interest::READABLE) {
                // An error of the socket shows at the read.
                Ok(socket) => drop(socket.readable().await),
                Err(error) => self.fail(error),
            }
        }
    }
}

/// Bytes to the peer. What the socket does not take at once goes out in the background; until then nothing more is taken.
struct Output {
    state: State,
    permit: usize,
}

enum State {
    Idle(Sending),
    Writing(JoinHandle<io::Result<Sending>>),
    Closed(Option<io::Error>),
}

impl Output {
    fn closed(error: Option<io::Error>) -> StreamError {
        match error {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => StreamError::LastOperationFailed(error.into()),
            _ => StreamError::Closed,
        }
    }

    async fn settle(&mut self) {
        if let State::Writing(task) = &mut self.state {
            self.state = match task.await {
                Ok(Ok(half)) => State::Idle(half),
                Ok(Err(error)) => State::Closed(Some(error)),
                Err(_) => State::Closed(None),
            };
        }
    }

    /// Sees whether the write in the background is over, without waiting for it.
    fn poll_settled(&mut self) {
        if let State::Writing(task) = &self.state
            && task.is_finished()
        {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let _ = std::pin::pin!(self.settle()).poll(&mut context);
        }
    }
}

#[async_trait::async_trait]
impl OutputStream for Output {
    fn write(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if bytes.len() > self.permit {
            return Err(StreamError::trap("more bytes were written than `check-write` allowed"));
        }
        self.permit = 0;
        let State::Idle(half) = &self.state else {
            return Err(StreamError::trap("bytes were written while `check-write` allowed none"));
        };
        match half.0.write(&bytes) {
            Ok(written) => bytes.advance(written),
            Err(error) if is_transient(&error) => {}
            Err(error) => {
                self.state = State::Closed(None);
                return Err(Self::closed(Some(error)));
            }
        }
        if bytes.is_empty() && !half.0.keeps() {
            return Ok(());
        }
        if let State::Idle(half) = std::mem::replace(&mut self.state, State::Closed(None)) {
            self.state = State::Writing(tokio::spawn(async move {
                half.write_all(bytes).await?;
                Ok(half)
            }));
        }
        Ok(())
    }

    /// Nothing to do: bytes are on their way as soon as they are written.
    fn flush(&mut self) -> StreamResult<()> {
        self.poll_settled();
        match &mut self.state {
            State::Closed(error) => Err(Self::closed(error.take())),
            _ => Ok(()),
        }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.poll_settled();
        match &mut self.state {
            State::Idle(_) => {
                self.permit = CHUNK;
                Ok(CHUNK)
            }
            State::Writing(_) => Ok(0),
            State::Closed(error) => Err(Self::closed(error.take())),
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        self.settle().await;
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let State::Writing(task) = std::mem::replace(&mut self.state, State::Closed(None)) else { return };
        let abort = task.abort_handle();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    if tokio::time::timeout(LINGER, task).await.is_err() {
                        abort.abort();
                    }
                });
            }
            Err(_) => abort.abort(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::quota::Quota;
    use super::*;
    use crate::limits::{Limit, Limits};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    async fn pair() -> (Connection, tokio::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (here, there) =
            tokio::join!(tokio::net::TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let quota = Quota::new(Limit::Sockets, &Limits::default(), Arc::new(crate::observer::Unobserved));
        let tally = Tally::new(quota.take().unwrap(), Arc::default());
        (Connection::new(here.unwrap(), tally).unwrap(), there.unwrap().0)
    }

    fn halves(connection: &mut Connection) -> (Input, Output) {
        let half = connection.input.take();
        let output = Output { state: State::Idle(connection.output.take().unwrap()), permit: 0 };
        (Input { half, ahead: Bytes::new(), error: None }, output)
    }

    #[tokio::test]
    async fn a_socket_is_watched_only_while_somebody_waits() {
        let (mut connection, mut peer) = pair().await;
        let (mut input, _output) = halves(&mut connection);
        for word in ["one", "two"] {
            // A descriptor is watched once only: this works because nobody else does.
            let socket = input.half.as_ref().unwrap().socket().clone();
            watch(socket, Interest::READABLE).unwrap();
            assert!(input.read(10).unwrap().is_empty());
            let (_, sent) = tokio::join!(input.ready(), peer.write_all(word.as_bytes()));
            sent.unwrap();
            assert_eq!(input.read(10).unwrap(), word);
        }
        drop(peer);
        input.ready().await;
        assert!(matches!(input.read(10), Err(StreamError::Closed)));
    }

    #[tokio::test]
    async fn both_directions_are_waited_for_at_once_and_the_end_is_told() {
        let (mut connection, mut peer) = pair().await;
        let (mut input, mut output) = halves(&mut connection);
        let mut written = 0;
        while let room @ 1.. = output.check_write().unwrap() {
            output.write(Bytes::from(vec![b'x'; room])).unwrap();
            written += room;
        }
        peer.write_all(b"still heard").await.unwrap();
        input.ready().await;
        assert_eq!(input.read(100).unwrap(), "still heard");
        let mut got = vec![0; written];
        let (_, read) = tokio::join!(output.ready(), peer.read_exact(&mut got));
        read.unwrap();
        assert!(got.iter().all(|byte| *byte == b'x') && output.check_write().unwrap() > 0);
        drop(output);
        assert_eq!(peer.read(&mut got).await.unwrap(), 0);
    }
}
