//! Connections, and connections being made. At most one chunk is read ahead of the guest, and only when it asks for readiness.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use ferrule_model::capability::AbilityKind;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use super::gate::{Failure, Gate};

/// Bytes read or taken for writing at once. Threat: a guest asks for a buffer of any size. Larger ones gain nothing.
const CHUNK: usize = 64 << 10;

/// How long bytes that a guest has written may still go out after it let go of the connection. Threat: a peer that reads
/// nothing keeps the socket.
const LINGER: Duration = Duration::from_secs(5);

/// An open connection. Its two directions are taken once each.
pub struct Connection {
    input: Option<OwnedReadHalf>,
    output: Option<OwnedWriteHalf>,
    peer: SocketAddr,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        let peer = stream.peer_addr().unwrap_or_else(|_| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        let (input, output) = stream.into_split();
        Self { input: Some(input), output: Some(output), peer }
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

/// A connection being made in the background; given up when it is dropped.
pub struct Connecting {
    task: AbortHandle,
    waiting: oneshot::Receiver<Result<Connection, Failure>>,
    answer: Option<Result<Connection, Failure>>,
}

impl Connecting {
    pub(crate) fn start(gate: &Arc<Gate>, host: &str, port: u16) -> Result<Self, Failure> {
        let destination = gate.check_name(AbilityKind::Tcp, host, port)?;
        let (answer, waiting) = oneshot::channel();
        let gate = gate.clone();
        let task = tokio::spawn(async move {
            // Nobody to answer means that the guest gave up.
            let _ = answer.send(gate.dial(&destination).await.map(Connection::new));
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
    half: Option<OwnedReadHalf>,
    /// What was found when readiness was asked for, not yet read by the guest.
    ahead: Bytes,
    error: Option<io::Error>,
}

impl Input {
    /// Takes what the socket has, at most `size` bytes; nothing when it has nothing now.
    fn take(&mut self, size: usize) -> Bytes {
        let Some(half) = &self.half else { return Bytes::new() };
        let mut bytes = BytesMut::with_capacity(size);
        let answer = half.try_read_buf(&mut (&mut bytes).limit(size));
        match answer {
            Ok(0) => self.half = None,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.half = None;
                self.error = Some(error);
            }
        }
        bytes.freeze()
    }
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
        while self.ahead.is_empty()
            && let Some(half) = &self.half
        {
            // An error of the socket shows at the read.
            let _ = half.readable().await;
            self.ahead = self.take(CHUNK);
        }
    }
}

/// Bytes to the peer. What the socket does not take at once goes out in the background; until then nothing more is taken.
struct Output {
    state: State,
    permit: usize,
}

enum State {
    Idle(OwnedWriteHalf),
    Writing(JoinHandle<io::Result<OwnedWriteHalf>>),
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
        match half.try_write(&bytes) {
            Ok(written) => bytes.advance(written),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                self.state = State::Closed(None);
                return Err(Self::closed(Some(error)));
            }
        }
        if bytes.is_empty() {
            return Ok(());
        }
        if let State::Idle(mut half) = std::mem::replace(&mut self.state, State::Closed(None)) {
            self.state = State::Writing(tokio::spawn(async move {
                half.write_all(&bytes).await?;
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
