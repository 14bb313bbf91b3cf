//! Where a guest's standard output and error go: into its log, line by line, or into a buffer for a test run.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::log_gate::LogGate;
use crate::observer::Level;

/// How much a guest may write at once.
const CHUNK: usize = 64 << 10;

/// Takes what a guest writes.
pub(crate) trait Taker: Send + Sync + 'static {
    fn take(&self, bytes: &[u8]);
}

/// Lines for the log.
pub(crate) struct Lines {
    gate: Arc<LogGate>,
    level: Level,
    begun: Mutex<Vec<u8>>,
}

impl Lines {
    pub(crate) fn new(gate: Arc<LogGate>, level: Level) -> Self {
        Self { gate, level, begun: Mutex::default() }
    }

    fn line(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if !line.is_empty() {
            self.gate.line(self.level, line);
        }
    }
}

impl Taker for Lines {
    fn take(&self, bytes: &[u8]) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = self.gate.line_bytes().saturating_sub(begun.len());
            begun.extend_from_slice(part.get(..room).unwrap_or(part));
            if part.ends_with(b"\n") {
                self.line(&begun);
                begun.clear();
            }
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let begun = std::mem::take(self.begun.get_mut().unwrap_or_else(PoisonError::into_inner));
        self.line(&begun);
    }
}

/// The beginning of what was written, up to a bound.
#[derive(Default)]
pub(crate) struct Capture {
    bound: usize,
    bytes: Mutex<Vec<u8>>,
}

impl Capture {
    pub(crate) fn new(bound: usize) -> Self {
        Self { bound, bytes: Mutex::default() }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Taker for Capture {
    fn take(&self, bytes: &[u8]) {
        let mut kept = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.bound.saturating_sub(kept.len());
        kept.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }
}

/// An output stream into a [`Taker`]; always ready.
pub(crate) struct Stdout<T>(pub(crate) Arc<T>);

impl<T> IsTerminal for Stdout<T> {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl<T: Taker> StdoutStream for Stdout<T> {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(Self(self.0.clone()))
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Self(self.0.clone()))
    }
}

#[async_trait::async_trait]
impl<T: Taker> Pollable for Stdout<T> {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl<T: Taker> OutputStream for Stdout<T> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }
}

impl<T: Taker> AsyncWrite for Stdout<T> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.take(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
