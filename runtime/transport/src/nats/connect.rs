//! Connects to NATS, and keeps what runs beside the log running.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::{self, kv};
use async_nats::{ConnectOptions, Event};
use ferrule_model::ids::Uid;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::frame::{BESIDE, OVERHEAD, POSITION_LIMIT};
use super::jetstream::{ANSWER, JetStream, OWNER};
use super::names::Names;
use super::savings::Savings;
use super::writer::Backoff;
use super::{NatsLog, Shared, lock, trim};
use crate::log::{Bounds, Durability};
use crate::memory::MemoryLog;

/// How often a runtime says that it lives, and how long it counts as living after it last said so.
const ALIVE: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(15));

/// How often it is asked how much room the streams take.
const MEASURE: Duration = Duration::from_secs(10);

/// How a client proves who it is.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// It does not.
    #[default]
    None,
    /// A token.
    Token(String),
    /// A user and a password.
    Password(String, String),
    /// A `.creds` file with a JWT and its seed, read at each first connection.
    File(PathBuf),
}

impl fmt::Debug for Credentials {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token",
            Self::Password(..) => "Password",
            Self::File(_) => "File",
        })
    }
}

/// How NATS is reached and used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsOptions {
    /// Addresses of servers of one cluster, without credentials: `nats://host:port`, `tls://host:port`.
    pub servers: Vec<String>,
    /// How the client proves who it is.
    pub credentials: Credentials,
    /// Files of certificates to trust beside the system's.
    pub roots: Vec<PathBuf>,
    /// Before the names of streams and subjects: letters, digits and `_`. Logs with the same prefix are the same log.
    pub prefix: String,
    /// Names the runtime that writes. One that comes back under the same name goes on with its streams at once; another waits until
    /// this one has been silent for 15 s.
    pub owner: String,
    /// What a record survives once JetStream acknowledged it: [`Durability::System`] unless every server of the cluster is
    /// configured with `sync_interval: always`, or keeps replicas on machines that do not end together.
    pub durable: Durability,
    /// Copies of each stream in a cluster.
    pub replicas: usize,
    /// Bytes of the largest record; cut to what a message of the server takes.
    pub largest_record: usize,
    /// Bytes of a stream's newest records that are kept in memory for its readers.
    pub tail_bytes: u64,
}

impl NatsOptions {
    /// The usual options for this address and runtime.
    pub fn new(server: impl Into<String>, owner: impl Into<String>) -> Self {
        Self {
            servers: vec![server.into()],
            credentials: Credentials::None,
            roots: Vec::new(),
            prefix: "ferrule".into(),
            owner: owner.into(),
            durable: Durability::System,
            replicas: 1,
            largest_record: 1 << 20,
            tail_bytes: 2 << 20,
        }
    }
}

/// Why there is no log at NATS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// An option that does not do.
    #[error("{0}")]
    Option(String),
    /// NATS does not answer, or refuses.
    #[error("NATS at {servers} cannot be used: {detail}")]
    Unreachable {
        /// The addresses, without passwords.
        servers: String,
        /// Why.
        detail: String,
    },
    /// The server is too old, or has no JetStream.
    #[error("NATS at {servers} does not do: {detail}")]
    Unfit {
        /// The addresses, without passwords.
        servers: String,
        /// Why, and how to mend it.
        detail: String,
    },
}

impl NatsLog {
    /// Connects, once: for a server that may come later there is [`super::PatientNatsLog`].
    pub async fn connect(options: NatsOptions) -> Result<Self, NatsError> {
        let names = Names::new(&options.prefix).ok_or_else(|| {
            NatsError::Option(format!("the prefix {:?} is not made of letters, digits and _", options.prefix))
        })?;
        if options.durable == Durability::Process {
            return Err(NatsError::Option("a log at NATS gives system or disk, and not process".into()));
        }
        let servers = options.servers.iter().map(|server| shown(server)).collect::<Vec<_>>().join(", ");
        let away = Arc::new(Mutex::new(None));
        let client = connect(&options, &servers, &away).await?;
        let info = client.server_info();
        let unfit = |detail: String| NatsError::Unfit { servers: servers.clone(), detail };
        if !info.jetstream {
            return Err(unfit("JetStream is off; put `jetstream {}` in its configuration".into()));
        }
        if !client.is_server_compatible(2, 11, 0) {
            return Err(unfit(format!("it is nats-server {}; 2.11 or newer is needed", info.version)));
        }
        let budget = client.max_payload().saturating_sub(OVERHEAD + POSITION_LIMIT);
        let largest_record = options.largest_record.min(budget.saturating_sub(BESIDE));
        if largest_record == 0 {
            return Err(unfit(format!("its max_payload of {} bytes is too small", client.max_payload())));
        }
        let unreachable = |error: &dyn std::fmt::Display| NatsError::Unreachable {
            servers: servers.clone(),
            detail: error.to_string(),
        };
        let context = jetstream::ContextBuilder::new().timeout(ANSWER).max_ack_inflight(4096).build(client.clone());
        let bucket = |bucket: String, max_age| kv::Config {
            bucket,
            max_age,
            num_replicas: options.replicas,
            ..kv::Config::default()
        };
        let cursors = context.create_or_update_key_value(bucket(names.cursors(), Duration::ZERO)).await;
        let cursors = cursors.map_err(|error| unreachable(&error))?;
        let runtimes = context.create_or_update_key_value(bucket(names.runtimes(), ALIVE.1)).await;
        let runtimes = runtimes.map_err(|error| unreachable(&error))?;
        let replicas = options.replicas;
        let owner = options.owner.clone();
        let jetstream = JetStream { client, context, names, cursors, runtimes, replicas, owner };
        let (known, stored) = jetstream.streams().await.map_err(|error| unreachable(&error))?;
        let shared = Arc::new(Shared {
            jetstream,
            streams: Mutex::default(),
            known: Mutex::new(known),
            options: Mutex::new(HashMap::new()),
            removing: Mutex::default(),
            removed: Notify::new(),
            savings: Savings::default(),
            session: format!("{}/{}", options.owner, uuid::Uuid::new_v4().simple()),
            owner: options.owner,
            durable: options.durable,
            largest_record,
            budget,
            tail_bytes: options.tail_bytes,
            closed: AtomicBool::new(false),
            next_write: AtomicU64::new(1),
            batches: AtomicU64::new(0),
            stored: AtomicU64::new(stored),
            away,
            findings: Mutex::default(),
        });
        shared.live().await.map_err(|error| unreachable(&error))?;
        let mut tasks = JoinSet::new();
        let beside = shared.clone();
        tasks.spawn(async move { beside.savings.run(&beside.jetstream).await });
        tasks.spawn(trim::run(shared.clone()));
        tasks.spawn(stay_alive(shared.clone()));
        tasks.spawn(listen(shared.clone()));
        tasks.spawn(measure(shared.clone()));
        let memory = MemoryLog::new(Bounds::default()).with_largest_record(largest_record);
        Ok(Self { shared, memory, tasks: Mutex::new(tasks), writers: Mutex::default() })
    }
}

/// An address without what proves who one is.
pub(super) fn shown(server: &str) -> String {
    match (server.split_once("://"), server.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        _ => server.to_owned(),
    }
}

async fn connect(
    options: &NatsOptions,
    servers: &str,
    away: &Arc<Mutex<Option<String>>>,
) -> Result<async_nats::Client, NatsError> {
    let (told, names) = (away.clone(), servers.to_owned());
    let mut connecting = ConnectOptions::new()
        .name(format!("ferrule {}", options.owner))
        .connection_timeout(ANSWER)
        .request_timeout(Some(ANSWER))
        .ping_interval(Duration::from_secs(5))
        .subscription_capacity(64 << 10)
        .event_callback(move |event| {
            tell(&told, &names, &event);
            std::future::ready(())
        });
    connecting = match &options.credentials {
        Credentials::None => connecting,
        Credentials::Token(token) => connecting.token(token.clone()),
        Credentials::Password(user, password) => connecting.user_and_password(user.clone(), password.clone()),
        Credentials::File(path) => connecting.credentials_file(path).await.map_err(|error| {
            NatsError::Option(format!("the credentials for NATS cannot be read from {}: {error}", path.display()))
        })?,
    };
    for roots in &options.roots {
        connecting = connecting.add_root_certificates(roots.clone());
    }
    let connected = connecting.connect(options.servers.as_slice()).await;
    connected.map_err(|error| NatsError::Unreachable { servers: servers.to_owned(), detail: error.to_string() })
}

/// Notes and tells that NATS went, why it does not come back, and that it did.
fn tell(away: &Mutex<Option<String>>, servers: &str, event: &Event) {
    let mut away = lock(away);
    match event {
        Event::Connected => {
            let was = away.take();
            if was.is_some() {
                tracing::info!("NATS at {servers} is back");
            }
        }
        Event::Disconnected => {
            let gone = format!("NATS at {servers} is away");
            tracing::warn!("{gone}; records wait until it is back");
            *away = Some(gone);
        }
        Event::ClientError(error) if away.is_some() => *away = Some(format!("NATS at {servers} is away: {error}")),
        _ => {}
    }
}

/// Says again and again that this runtime lives.
async fn stay_alive(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(ALIVE.0).await;
        shared.live().await.ok();
    }
}

/// Asks now and then how much room the streams take.
async fn measure(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(MEASURE).await;
        if let Ok((_, bytes)) = shared.jetstream.streams().await {
            shared.stored.store(bytes, Ordering::Relaxed);
        }
    }
}

/// Wakes readers when NATS tells of messages; what is not told is found later.
async fn listen(shared: Arc<Shared>) {
    let mut backoff = Backoff::new();
    loop {
        if let Ok(mut news) = shared.jetstream.client.subscribe(shared.jetstream.names.all_news()).await {
            backoff = Backoff::new();
            while let Some(message) = news.next().await {
                let sequence = message.headers.as_ref().and_then(|headers| headers.get("Nats-Sequence"));
                let sequence = sequence.and_then(|sequence| sequence.as_str().parse().ok());
                let uid = shared.jetstream.names.uid(&message.subject);
                let stream = uid.and_then(|uid| lock(&shared.streams).get(&uid).cloned());
                let (Some(stream), Some(sequence)) = (stream, sequence) else { continue };
                let mut state = lock(&stream.state);
                // A writer here knows what it wrote.
                if state.writer.is_none() && state.heard < sequence {
                    state.heard = sequence;
                    drop(state);
                    stream.data.notify_waiters();
                }
            }
        }
        backoff.wait().await;
    }
}

impl JetStream {
    /// The streams that this owner made, and the bytes that they take; those of others are none of its business.
    async fn streams(&self) -> Result<(HashSet<Uid>, u64), jetstream::context::StreamsError> {
        let mut all = self.context.streams();
        let (mut ours, mut bytes) = (HashSet::new(), 0);
        while let Some(info) = all.try_next().await? {
            let config = info.config;
            if config.metadata.get(OWNER) == Some(&self.owner) {
                ours.extend(config.subjects.iter().filter_map(|subject| self.names.uid(subject)));
                bytes += info.state.bytes;
            }
        }
        Ok((ours, bytes))
    }
}
