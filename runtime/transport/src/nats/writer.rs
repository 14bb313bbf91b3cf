//! The one writer of a stream: messages on their way, acknowledged in order, sent again after a break without doubles.
//!
//! Every message names the number of the one before it (`Nats-Expected-Last-Sequence`), so NATS takes it once and in its place, or
//! not at all. After any failure the writer reads the newest message: it says how far its own messages got, or that another
//! runtime writes the stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{PublishAckFuture, PublishError};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use tokio::sync::{mpsc, oneshot};

use super::frame::Frame;
use super::state::Stream;
use super::{Shared, lock};
use crate::log::LogError;

/// Messages that are on their way at most.
const WINDOW: usize = 64;
/// Their bytes at most, the first excepted.
const WINDOW_BYTES: usize = 8 << 20;
/// How long the writer waits before it tries again: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A message to be written; the last one of an append has somebody who waits for it.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) frame: Frame,
    pub(super) done: Option<oneshot::Sender<Result<(), LogError>>>,
}

struct Sent {
    write: Write,
    body: Bytes,
}

/// Where the writer is after it looked.
enum Found {
    /// The newest message has this number; ours up to this one are in.
    At { sequence: u64, id: Option<u64> },
    /// The stream is not ours to write.
    Lost(LogError),
}

/// Waits longer each time.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(BACKOFF.0)
    }

    pub(super) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(BACKOFF.1);
    }
}

/// Writes what comes until nobody sends any more, or the stream is lost.
pub(super) async fn run(shared: Arc<Shared>, stream: Arc<Stream>, queue: mpsc::UnboundedReceiver<Write>, last: u64) {
    let mut writer = Writer { shared, stream, last, sent: VecDeque::new(), bytes: 0, acks: FuturesOrdered::new() };
    if let Err(error) = writer.run(queue).await {
        writer.fail(error);
    }
}

type Ack = std::pin::Pin<Box<dyn Future<Output = Result<u64, PublishError>> + Send>>;

struct Writer {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
    /// The number of the newest message that was acknowledged.
    last: u64,
    sent: VecDeque<Sent>,
    bytes: usize,
    acks: FuturesOrdered<Ack>,
}

impl Writer {
    async fn run(&mut self, mut queue: mpsc::UnboundedReceiver<Write>) -> Result<(), LogError> {
        let mut backoff = Backoff::new();
        loop {
            let room = self.sent.is_empty() || (self.sent.len() < WINDOW && self.bytes < WINDOW_BYTES);
            let failed = tokio::select! {
                biased;
                Some(ack) = self.acks.next(), if !self.acks.is_empty() => match ack {
                    Ok(sequence) if sequence == self.last + 1 => {
                        self.finish();
                        backoff = Backoff::new();
                        None
                    }
                    Ok(sequence) => Some(format!("NATS gave number {sequence}, and {} comes next", self.last + 1)),
                    Err(error) => Some(describe(&error)),
                },
                write = queue.recv(), if room => {
                    let Some(write) = write else {
                        if self.sent.is_empty() {
                            return Ok(());
                        }
                        queue.close();
                        while let Some(ack) = self.acks.next().await {
                            match ack {
                                Ok(sequence) if sequence == self.last + 1 => self.finish(),
                                _ => break,
                            }
                        }
                        if self.sent.is_empty() {
                            return Ok(());
                        }
                        self.again("the connection was lost while the log closed".into(), &mut backoff).await?;
                        continue;
                    };
                    let body = write.frame.encode();
                    self.bytes += body.len();
                    self.sent.push_back(Sent { write, body });
                    self.send(self.sent.len() - 1).await.err().map(|error| describe(&error))
                }
            };
            if let Some(detail) = failed {
                self.again(detail, &mut backoff).await?;
            }
        }
    }

    /// Sends the message at `index` of those on their way.
    async fn send(&mut self, index: usize) -> Result<(), PublishError> {
        let Some(sent) = self.sent.get(index) else { return Ok(()) };
        let subject = self.shared.jetstream.names.subject(&self.stream.uid);
        let expected = self.last + index as u64;
        let message = PublishMessage::build().payload(sent.body.clone()).expected_last_sequence(expected);
        let ack: PublishAckFuture = self.shared.jetstream.context.send_publish(subject, message).await?;
        self.acks.push_back(Box::pin(async move { Ok(ack.await?.sequence) }));
        Ok(())
    }

    /// The oldest message on its way is in.
    fn finish(&mut self) {
        let Some(Sent { write, body }) = self.sent.pop_front() else { return };
        self.bytes -= body.len();
        self.last += 1;
        let mut frame = write.frame;
        frame.mark.sequence = self.last;
        {
            let mut state = lock(&self.stream.state);
            state.trouble = None;
            state.saw(frame.mark, frame.position.clone());
            if !frame.records.is_empty() {
                state.keep(frame, self.shared.tail_bytes);
            }
        }
        self.shared.batches.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.stream.data.notify_waiters();
        if let Some(done) = write.done {
            done.send(Ok(())).ok();
        }
    }

    /// Finds out what got in, and sends the rest again.
    async fn again(&mut self, detail: String, backoff: &mut Backoff) -> Result<(), LogError> {
        let mut detail = detail;
        loop {
            self.acks = FuturesOrdered::new();
            lock(&self.stream.state).trouble = Some(detail.clone());
            backoff.wait().await;
            match self.look().await {
                Err(LogError::Unavailable(why)) => {
                    detail = why;
                    continue;
                }
                Err(error) => return Err(error),
                Ok(Found::Lost(error)) => return Err(error),
                Ok(Found::At { sequence, id }) => {
                    while self.sent.front().is_some_and(|sent| id.is_some_and(|id| sent.write.frame.id <= id)) {
                        self.finish();
                    }
                    self.last = sequence;
                }
            }
            let mut failed = None;
            for index in 0..self.sent.len() {
                if let Err(error) = self.send(index).await {
                    failed = Some(describe(&error));
                    break;
                }
            }
            match failed {
                Some(why) => detail = why,
                None => return Ok(()),
            }
        }
    }

    /// Reads the newest message.
    async fn look(&mut self) -> Result<Found, LogError> {
        let name = self.shared.jetstream.names.stream(&self.stream.uid);
        let newest = match self.shared.jetstream.last(&self.stream.uid).await? {
            Some(Ok(frame)) => Some(frame),
            Some(Err(broken)) => {
                let detail =
                    format!("the newest message of JetStream stream {name} is none of ours: {}", broken.detail);
                return Ok(Found::Lost(LogError::Unavailable(detail)));
            }
            None => None,
        };
        Ok(match newest {
            Some(frame) if frame.mark.sequence < self.last => Found::Lost(LogError::Unavailable(format!(
                "JetStream stream {name} has lost what it had acknowledged; it is read anew"
            ))),
            Some(frame) if frame.writer == self.shared.session => {
                Found::At { sequence: frame.mark.sequence, id: Some(frame.id) }
            }
            Some(frame) if frame.mark.sequence == self.last => Found::At { sequence: self.last, id: None },
            None if self.last == 0 => Found::At { sequence: 0, id: None },
            Some(frame) => Found::Lost(written_by(&self.stream, &frame.writer)),
            None => Found::Lost(LogError::Unavailable(format!(
                "JetStream stream {name} has lost its messages; it is read anew"
            ))),
        })
    }

    /// Everybody who waits is told.
    fn fail(&mut self, error: LogError) {
        {
            let mut state = lock(&self.stream.state);
            state.forget();
            state.trouble = Some(error.to_string());
        }
        for sent in self.sent.drain(..) {
            if let Some(done) = sent.write.done {
                done.send(Err(error.clone())).ok();
            }
        }
        self.stream.wake();
    }
}

/// What a second writer is told.
pub(super) fn written_by(stream: &Stream, writer: &str) -> LogError {
    let owner = writer.rsplit_once('/').map_or(writer, |(owner, _)| owner);
    LogError::Unavailable(format!(
        "stream {} is written by another runtime, {owner}; it can be taken over some seconds after that one ended",
        stream.uid
    ))
}

/// An error with what is behind it.
fn describe(error: &PublishError) -> String {
    let mut text = format!("NATS did not take a message: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
