//! What the log asks of NATS: streams, messages by number, cursors in a bucket. Every question has an end.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, Republish, StorageType};
use async_nats::jetstream::{self, kv};
use async_nats::{Client, StatusCode};
use bytes::Bytes;
use ferrule_model::ids::Uid;
use futures_util::StreamExt as _;

use super::frame::{Broken, Frame};
use super::names::Names;
use crate::log::LogError;

/// How long an answer of NATS is waited for.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// Under this name a stream says which owner made it.
pub(super) const OWNER: &str = "ferrule-owner";

/// A message, or what is wrong with it.
pub(super) type Read = Result<Frame, Broken>;

/// The connection and its names.
#[derive(Clone, Debug)]
pub(super) struct JetStream {
    pub(super) client: Client,
    pub(super) context: jetstream::Context,
    pub(super) names: Names,
    pub(super) cursors: kv::Store,
    pub(super) runtimes: kv::Store,
    pub(super) replicas: usize,
    pub(super) owner: String,
}

pub(super) fn unavailable(what: &str, error: impl std::fmt::Display) -> LogError {
    LogError::Unavailable(format!("{what}: {error}"))
}

impl JetStream {
    /// Makes the stream of `uid` unless it is there.
    pub(super) async fn create(&self, uid: &Uid) -> Result<(), LogError> {
        let name = self.names.stream(uid);
        let config = Config {
            name: name.clone(),
            subjects: vec![self.names.subject(uid)],
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            num_replicas: self.replicas,
            allow_direct: true,
            republish: Some(Republish {
                source: self.names.subject(uid),
                destination: self.names.news(uid),
                headers_only: true,
            }),
            description: Some(format!("Ferrule, stream {uid}")),
            metadata: HashMap::from([(OWNER.to_owned(), self.owner.clone())]),
            ..Config::default()
        };
        let made = self.context.get_or_create_stream(config).await;
        made.map(|_| ()).map_err(|error| unavailable(&format!("NATS does not make the JetStream stream {name}"), error))
    }

    /// The numbers of the first and the last message of a stream.
    pub(super) async fn ends(&self, uid: &Uid) -> Result<(u64, u64), LogError> {
        let name = self.names.stream(uid);
        let failed = |error: &dyn std::fmt::Display| unavailable(&format!("NATS does not tell of {name}"), error);
        let stream = self.context.get_stream_no_info(&name).await.map_err(|error| failed(&error))?;
        let info = stream.get_info().await.map_err(|error| failed(&error))?;
        Ok((info.state.first_sequence, info.state.last_sequence))
    }

    /// Removes the messages before `sequence`.
    pub(super) async fn purge(&self, uid: &Uid, sequence: u64) -> Result<(), LogError> {
        let name = self.names.stream(uid);
        let failed = |error: &dyn std::fmt::Display| unavailable(&format!("NATS does not trim {name}"), error);
        let stream = self.context.get_stream_no_info(&name).await.map_err(|error| failed(&error))?;
        stream.purge().sequence(sequence).await.map_err(|error| failed(&error))?;
        Ok(())
    }

    /// Removes the stream and the cursors of its readers; what is not there is removed.
    pub(super) async fn remove(&self, uid: &Uid) -> Result<(), LogError> {
        let name = self.names.stream(uid);
        let failed = |error: &dyn std::fmt::Display| unavailable(&format!("NATS does not remove {name}"), error);
        for (reader, ..) in self.cursors(uid).await? {
            self.cursors.purge(self.names.cursor(uid, &reader)).await.map_err(|error| failed(&error))?;
        }
        match self.context.delete_stream(&name).await {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                jetstream::context::DeleteStreamErrorKind::JetStream(error)
                    if error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(())
                }
                _ => Err(failed(&error)),
            },
        }
    }

    /// The newest message, asked of the leader of the stream.
    pub(super) async fn last(&self, uid: &Uid) -> Result<Option<Read>, LogError> {
        let name = self.names.stream(uid);
        let failed =
            |error: &dyn std::fmt::Display| unavailable(&format!("NATS does not tell the end of {name}"), error);
        let stream = self.context.get_stream_no_info(&name).await.map_err(|error| failed(&error))?;
        match stream.get_last_raw_message_by_subject(&self.names.subject(uid)).await {
            Ok(message) => Ok(Some(Frame::decode(message.sequence, message.payload))),
            Err(error) => match error.kind() {
                jetstream::stream::LastRawMessageErrorKind::NoMessageFound => Ok(None),
                _ => Err(failed(&error)),
            },
        }
    }

    /// The messages from `sequence` on, one after another: some, none where there are none yet.
    pub(super) async fn read(
        &self,
        uid: &Uid,
        sequence: u64,
        most: usize,
        bytes: usize,
    ) -> Result<Vec<Read>, LogError> {
        let name = self.names.stream(uid);
        let ask = serde_json::json!({"seq": sequence.max(1), "batch": most, "max_bytes": bytes});
        let messages = self.direct(&name, ask.to_string()).await?;
        let mut frames: Vec<Read> = Vec::with_capacity(messages.len());
        for message in messages {
            let frame = Frame::decode(message.sequence, message.payload);
            let before = frames.last().map(sequence_of);
            if before.is_some_and(|before| before + 1 != message.sequence) {
                break;
            }
            frames.push(frame);
        }
        Ok(frames)
    }

    /// The cursors of a stream: the reader's name, the revision, the value; none where it was deleted.
    pub(super) async fn cursors(&self, uid: &Uid) -> Result<Vec<(String, u64, Bytes)>, LogError> {
        let ask = serde_json::json!({"multi_last": [self.names.cursors_of(uid)]});
        let messages = self.direct(&format!("KV_{}", self.names.cursors()), ask.to_string()).await?;
        let held = messages.into_iter().filter(|message| !message.deleted);
        Ok(held
            .filter_map(|message| Some((self.names.reader(&message.subject)?, message.sequence, message.payload)))
            .collect())
    }

    /// Asks for several messages at once, without a consumer.
    async fn direct(&self, stream: &str, ask: String) -> Result<Vec<Direct>, LogError> {
        let failed = |error: &dyn std::fmt::Display| unavailable(&format!("NATS does not read {stream}"), error);
        let late = || LogError::Unavailable(format!("NATS does not read {stream}: no answer within {ANSWER:?}"));
        let inbox = self.client.new_inbox();
        let asked = async {
            let answers = self.client.subscribe(inbox.clone()).await.map_err(|error| failed(&error))?;
            let subject = format!("$JS.API.DIRECT.GET.{stream}");
            let sent = self.client.publish_with_reply(subject, inbox.clone(), ask.into()).await;
            sent.map_err(|error| failed(&error))?;
            Ok::<_, LogError>(answers)
        };
        let mut answers = tokio::time::timeout(ANSWER, asked).await.map_err(|_| late())??;
        let mut messages = Vec::new();
        loop {
            let next = tokio::time::timeout(ANSWER, answers.next()).await.map_err(|_| late())?;
            let Some(message) = next else { return Err(failed(&"the connection was closed")) };
            match message.status {
                None => {}
                Some(StatusCode::NO_RESPONDERS) => return Err(failed(&"JetStream does not answer for it")),
                // The end, or nothing found.
                Some(status) if matches!(status.as_u16(), 204 | 404) => return Ok(messages),
                Some(status) => {
                    let detail = message.description.unwrap_or_default();
                    return Err(failed(&format!("status {status} {detail}")));
                }
            }
            let Some(headers) = &message.headers else { return Err(failed(&"a message without headers")) };
            let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
            let sequence = header("Nats-Sequence").and_then(|text| text.parse().ok());
            let Some(sequence) = sequence else { return Err(failed(&"a message without a number")) };
            let subject = header("Nats-Subject").unwrap_or_default();
            let deleted = headers.get("KV-Operation").is_some();
            messages.push(Direct { sequence, subject, deleted, payload: message.payload });
        }
    }
}

pub(super) fn sequence_of(read: &Read) -> u64 {
    match read {
        Ok(frame) => frame.mark.sequence,
        Err(broken) => broken.mark.sequence,
    }
}

struct Direct {
    sequence: u64,
    subject: String,
    deleted: bool,
    payload: Bytes,
}
