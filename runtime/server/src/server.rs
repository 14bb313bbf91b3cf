//! Start-up and shutdown.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ferrule_api::request::Registration;
use ferrule_api::{Client, Platform};
use ferrule_control::{Control, ControlOptions, LogOffer, Site};
use ferrule_flow::{Flow, FlowOptions};
use ferrule_host::Engine;
use ferrule_store::{EmbeddedOptions, EmbeddedStore, Principal, Store};
use ferrule_transport::nats::{NatsOptions, PatientNatsLog};
use ferrule_transport::{EmbeddedLog, EmbeddedOptions as LogOptions, Log, MemoryLog};
use tokio_util::sync::CancellationToken;

use crate::dead_letters::{DeadLetterStore, Durable};
use crate::error::StartError;
use crate::folder::DataFolder;
use crate::listen::{self, Doors};
use crate::options::{Options, Transport};
use crate::platform::{Acting, Callers, Inner};
use crate::register::{Origin, register_as};
use crate::registry::Registry;
use crate::secrets;
use crate::shutdown::Signals;

/// How long a start waits until NATS was asked once, so that the usual start finds its log there.
const NATS_FIRST: Duration = Duration::from_secs(5);

/// How long the doors may take to close once nothing is served any more.
const DOORS_DEADLINE: Duration = Duration::from_secs(2);

/// A running server. It stops by [`Server::stop`], not by being dropped.
pub struct Server {
    inner: Arc<Inner>,
    log: Arc<dyn Log>,
    doors: Doors,
    socket: Option<PathBuf>,
    stop_deadline: Duration,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("data_folder", &self.inner.folder.root()).finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the data folder, registers what is shipped, starts what is stored, and opens the doors.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let folder = DataFolder::open(&options.data_folder)?;
        // The store's lock comes first: whoever has it owns the folder, the socket file included.
        let store_file = Arc::new(open_store(&folder).await?);
        let store: Arc<dyn Store> = store_file.clone();
        let (vault, secret_key) = secrets::open(&folder, options.secret_key.as_deref())?;
        let mut bound = listen::bind(&options).await?;
        // A start that fails or is cut off from here on takes its socket away again.
        let mut door = Door(options.socket.clone());
        let dead_letters = open_dead_letters(&folder, options.dead_letters).await?;
        let mut engine = options.engine.clone();
        engine.around.doors = bound.addresses();
        let engine = Engine::new(engine)?;
        let compiled = options.compiled.clone().unwrap_or_else(|| folder.compiled());
        let registry = Registry::new(engine, folder.components(), compiled);
        let (log, journal) = open_log(&folder, &options).await?;
        let offer = LogOffer::new(log.name(), |durability| log.guarantees(durability));
        let site = Site { log: offer, vault, deny: options.deny.clone(), learn: options.learn, ..Site::default() };
        let flow = Flow::start(FlowOptions::new(log.clone(), Arc::new(Durable(dead_letters.clone()))));
        let runner = ferrule_control::FlowRunner::new(flow.clone(), Arc::new(registry.clone()));
        let inner = Arc::new(Inner {
            control: std::sync::OnceLock::new(),
            store: store.clone(),
            store_file,
            journal,
            log_name: log.name(),
            registry,
            flow,
            site: site.clone(),
            dead_letters,
            secret_key,
            folder,
            started: SystemTime::now(),
            metrics_address: bound.metrics_address(),
            stopping: CancellationToken::new(),
            writing: tokio::sync::Mutex::default(),
        });
        register_shipped(&inner, &options.shipped).await;
        let control = Control::start(store, Arc::new(runner), ControlOptions { site, ..ControlOptions::default() });
        // Set once, here.
        let _ = inner.control.set(control);
        let callers = Callers { inner: inner.clone(), guard: bound.take_guard() };
        let doors = listen::serve(bound, Arc::new(callers), inner.clone(), &inner.stopping)?;
        tracing::info!(
            data = %inner.folder.root().display(),
            socket = options.socket.as_deref().map(|path| path.display().to_string()),
            grpc = doors.grpc_address.map(|address| address.to_string()),
            metrics = doors.metrics_address.map(|address| address.to_string()),
            "the server runs"
        );
        Ok(Self { inner, log, doors, socket: door.0.take(), stop_deadline: options.stop_deadline })
    }

    /// The platform, for callers in this process.
    pub fn platform(&self) -> Arc<dyn Platform> {
        let principal = Principal::new("process");
        Arc::new(Acting { inner: self.inner.clone(), principal, local: true })
    }

    /// A connection by the server's own socket, as the command line has it.
    pub async fn client(&self) -> Result<Client, ferrule_api::Error> {
        match (&self.socket, self.doors.grpc_address) {
            (Some(path), _) => Client::connect(ferrule_api::Address::Unix(path.clone())).await,
            (None, Some(address)) => Client::connect(ferrule_api::Address::Tcp(address.to_string())).await,
            (None, None) => Err(ferrule_api::Error::Internal("the server has no door; use its platform".to_owned())),
        }
    }

    /// Where the socket is.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Where gRPC is served over TCP.
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.doors.grpc_address
    }

    /// Where `/metrics` is served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.doors.metrics_address
    }

    /// Stops taking in, waits until what is in flight has its outcome or the deadline is over, and closes everything. What was
    /// not delivered is not settled. Whether everything was delivered.
    pub async fn stop(self) -> bool {
        let Self { inner, log, doors, socket, stop_deadline } = self;
        doors.health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        if let Some(control) = inner.control.get() {
            control.stop().await;
        }
        let drained = match inner.flow.stop(stop_deadline).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "stopped with records in flight");
                false
            }
        };
        log.close().await;
        inner.stopping.cancel();
        doors.closed(DOORS_DEADLINE).await;
        if let Some(path) = socket
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::debug!(path = %path.display(), %error, "the socket is left behind");
        }
        tracing::info!(drained, "the server has stopped");
        drained
    }

    /// Runs until a signal comes, then stops. A second one ends the wait for what is in flight.
    pub async fn run(self, signals: &mut Signals) -> bool {
        let signal = signals.next().await;
        tracing::info!(signal, "stopping");
        tokio::select! {
            drained = self.stop() => drained,
            _ = signals.next() => false,
        }
    }
}

/// The socket file of a start that is not complete.
struct Door(Option<PathBuf>);

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn open_store(folder: &DataFolder) -> Result<EmbeddedStore, StartError> {
    Ok(EmbeddedStore::open_with(folder.store(), EmbeddedOptions::default()).await?)
}

/// Opens the log, which is a journal of this folder for one of the transports. Blocks on the disk elsewhere.
async fn open_log(folder: &DataFolder, options: &Options) -> Result<(Arc<dyn Log>, Option<EmbeddedLog>), StartError> {
    match &options.transport {
        Transport::Memory => Ok((Arc::new(MemoryLog::default()), None)),
        Transport::Embedded => {
            let options = LogOptions { segment_bytes: options.log_segment, ..LogOptions::new(folder.log()) };
            let opened = tokio::task::spawn_blocking(move || EmbeddedLog::open(options)).await;
            let log = opened.map_err(|error| StartError::Task(error.to_string()))??;
            for finding in log.health().findings {
                tracing::warn!("{finding}");
            }
            Ok((Arc::new(log.clone()), Some(log)))
        }
        Transport::Nats(options) => {
            let options = NatsOptions { owner: folder.owner()?, ..NatsOptions::clone(options) };
            let log = PatientNatsLog::start(options);
            // Why it is not there yet is logged where it is found out, and is in the status.
            let _ = log.asked(NATS_FIRST).await;
            Ok((Arc::new(log), None))
        }
    }
}

async fn open_dead_letters(folder: &DataFolder, bound: u64) -> Result<Arc<DeadLetterStore>, StartError> {
    let path = folder.dead_letters();
    let opened = tokio::task::spawn_blocking({
        let path = path.clone();
        move || DeadLetterStore::open(&path, bound)
    })
    .await
    .unwrap_or_else(|error| Err(std::io::Error::other(error)));
    opened.map(Arc::new).map_err(|source| StartError::Folder { what: "the folder of dead letters", path, source })
}

/// Registers the components that come with the product. One that is not usable is told and left out: the server serves the
/// others.
async fn register_shipped(inner: &Inner, places: &[PathBuf]) {
    let principal = Principal::new("server");
    for file in wasm_files(places) {
        let name = file.display().to_string();
        let content = match tokio::fs::read(&file).await {
            Ok(content) => content,
            Err(error) => {
                tracing::warn!(file = name, %error, "a shipped component cannot be read");
                continue;
            }
        };
        let registration = Registration { content, file: name.clone(), ..Registration::default() };
        match register_as(inner, &principal, registration, Origin::Shipped).await {
            Ok(registered) => {
                tracing::debug!(file = name, digest = registered.component.digest, "a shipped component is registered");
            }
            Err(error) => tracing::warn!(file = name, %error, "a shipped component is not registered"),
        }
    }
}

fn wasm_files(places: &[PathBuf]) -> Vec<PathBuf> {
    let is_wasm = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wasm");
    let mut files = Vec::new();
    for place in places {
        if place.is_dir() {
            let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
            let mut found: Vec<_> = entries.map(|entry| entry.path()).filter(is_wasm).collect();
            found.sort();
            files.extend(found);
        } else {
            files.push(place.clone());
        }
    }
    files
}
