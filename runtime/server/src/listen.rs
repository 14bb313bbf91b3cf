//! The doors: gRPC on the Unix socket and, if wanted, on TCP; metrics over HTTP.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ferrule_api::grpc::{self, Access};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server as Grpc, ServerTlsConfig};
use tonic_health::server::{HealthReporter, health_reporter};

use crate::error::StartError;
use crate::guard::{self, Guard};
use crate::options::Options;
use crate::platform::Inner;

/// The longest path that fits in a socket's address on Linux and, shorter, on macOS.
const SOCKET_PATH_LIMIT: usize = if cfg!(target_os = "macos") { 103 } else { 107 };

/// The open doors.
pub(crate) struct Doors {
    pub(crate) grpc_address: Option<SocketAddr>,
    pub(crate) metrics_address: Option<SocketAddr>,
    pub(crate) health: HealthReporter,
    tasks: JoinSet<()>,
}

/// Listeners that are bound and not served yet, so that a port in use is known before anything runs.
pub(crate) struct Bound {
    unix: Option<UnixListener>,
    tcp: Option<TcpListener>,
    tls: Option<ServerTlsConfig>,
    guard: Guard,
    http: Option<TcpListener>,
    metrics_address: Option<SocketAddr>,
}

impl Bound {
    /// Every address on the network that is listened at.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        [&self.tcp, &self.http].into_iter().flatten().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Who may do what over the network; asked for once.
    pub(crate) fn take_guard(&mut self) -> Guard {
        std::mem::take(&mut self.guard)
    }

    pub(crate) fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }
}

/// Binds all listeners. The store's lock must be held: a socket file that is there was left by a server that is gone.
pub(crate) async fn bind(options: &Options) -> Result<Bound, StartError> {
    let (guard, tls) = options.listen.as_ref().map(guard::of).transpose()?.unwrap_or_default();
    let unix = options.socket.as_deref().map(bind_socket).transpose()?;
    let tcp = match &options.listen {
        Some(listen) => Some(bind_tcp(listen.address, "gRPC", "name another address with --listen").await?),
        None => None,
    };
    let http = match options.metrics {
        Some(address) => {
            let help = "name another address with --metrics, or serve none with --no-metrics";
            Some(bind_tcp(address, "metrics", help).await?)
        }
        None => None,
    };
    let metrics_address = http.as_ref().and_then(|listener| listener.local_addr().ok());
    Ok(Bound { unix, tcp, tls, guard, http, metrics_address })
}

fn bind_socket(path: &Path) -> Result<UnixListener, StartError> {
    let failed = |source| StartError::Socket { path: path.to_owned(), source };
    if path.as_os_str().len() > SOCKET_PATH_LIMIT {
        return Err(StartError::SocketPath { path: path.to_owned(), limit: SOCKET_PATH_LIMIT });
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) => {
            use std::os::unix::fs::FileTypeExt as _;
            if !found.file_type().is_socket() {
                return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "something else is there")));
            }
            std::fs::remove_file(path).map_err(failed)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Whoever may connect may do everything: the owner alone.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

async fn bind_tcp(address: SocketAddr, purpose: &'static str, help: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, purpose, source, help })
}

/// Serves until `stop`.
pub(crate) fn serve(
    bound: Bound,
    access: Arc<dyn Access>,
    inner: Arc<Inner>,
    stop: &CancellationToken,
) -> Result<Doors, StartError> {
    let (health, health_service) = health_reporter();
    let mut tasks = JoinSet::new();
    let router = |builder: Grpc| {
        builder
            .http2_max_header_list_size(1024 * 1024)
            .add_service(grpc::service(access.clone()))
            .add_service(health_service.clone())
    };
    if let Some(listener) = bound.unix {
        let serving = router(Grpc::builder())
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.clone().cancelled_owned());
        tasks.spawn(async move { report("the Unix socket", serving.await) });
    }
    let mut grpc_address = None;
    if let Some(listener) = bound.tcp {
        grpc_address = listener.local_addr().ok();
        let builder = match bound.tls {
            Some(tls) => Grpc::builder().tls_config(tls).map_err(|error| StartError::Tls(reason_of(&error)))?,
            None => Grpc::builder(),
        };
        let serving = router(builder)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.clone().cancelled_owned());
        tasks.spawn(async move { report("gRPC over TCP", serving.await) });
    }
    if let Some(listener) = bound.http {
        let routes =
            Router::new().route("/metrics", get(metrics)).route("/healthz", get(|| async { "ok\n" })).with_state(inner);
        let serving = axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
        tasks.spawn(async move { report("HTTP", serving.await) });
    }
    Ok(Doors { grpc_address, metrics_address: bound.metrics_address, health, tasks })
}

/// The innermost reason: transport errors say only "transport error" themselves.
fn reason_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

impl Doors {
    /// Waits until all doors are closed; those that are not by then are shut.
    pub(crate) async fn closed(mut self, within: std::time::Duration) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(within, all).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

fn report<E: std::fmt::Display>(door: &str, ended: Result<(), E>) {
    if let Err(error) = ended {
        tracing::error!(%error, "{door} is no longer served");
    }
}

async fn metrics(State(inner): State<Arc<Inner>>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match inner.metrics().await {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
