//! `wasi:http` out of a guest: each request goes over a connection that passed the gate.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ferrule_model::capability::AbilityKind;
use http_body_util::BodyExt as _;
use hyper::http::uri::Scheme;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::{self, Host as _};
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttp, WasiHttpHooks, WasiHttpView as _};

use super::gate::{Destination, Door, Failure, Gate};
use super::quota::{Permit, Tally};
use super::tls::{Attachment, Talk, TlsOptions};
use crate::guest::Guest;

/// What a guest sends requests with.
const HANDLER: &str = "wasi:http/outgoing-handler@0.2.12";

/// How long to wait where the guest does not say. Threat: a server that accepts and says nothing.
const PATIENCE: Duration = Duration::from_secs(60);

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// Links the interface that sends requests. wasmtime-wasi-http 48 keeps the options of a request, which it was given for good, as long
/// as the instance lives: a handle for each request.
pub(crate) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    outgoing_handler::add_to_linker::<_, WasiHttp>(linker, Guest::http)?;
    linker.allow_shadowing(true);
    linker.instance(HANDLER)?.func_wrap(
        "handle",
        |mut store: StoreContextMut<'_, Guest>,
         (request, options): (Resource<HostOutgoingRequest>, Option<Resource<RequestOptions>>)| {
            let mut http = store.data_mut().http();
            let kept = options.as_ref().map(|options| Resource::<RequestOptions>::new_own(options.rep()));
            let answer = http.handle(request, options);
            if let Some(kept) = kept {
                http.table.delete(kept)?;
            }
            Ok((match answer {
                Ok(response) => Ok(response),
                Err(error) => Err(error.downcast()?),
            },))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

pub(crate) struct HttpSender {
    gate: Arc<Gate>,
    /// Bytes kept in memory of what comes, and of what goes.
    buffered: usize,
}

/// The least that hyper works with.
const LEAST_BUFFER: usize = 8 << 10;

impl HttpSender {
    pub(crate) fn new(gate: Arc<Gate>, buffered: usize) -> Self {
        Self { gate, buffered: buffered.max(LEAST_BUFFER) }
    }
}

impl WasiHttpHooks for HttpSender {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Io,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Io), Error>> + Send> {
        let (gate, buffered) = (self.gate.clone(), self.buffered);
        Box::new(async move { send(&gate, request, options.unwrap_or_default(), buffered).await })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        1
    }

    /// One chunk is with the guest's writing, one on its way.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        self.buffered / 2
    }
}

/// A connection, encrypted or not.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

async fn dial(gate: &Gate, destination: &Destination) -> Result<(Box<dyn Duplex>, Option<Talk>), Error> {
    let stream = gate.dial(destination).await.map_err(told)?;
    if destination.kind() != AbilityKind::Https {
        return Ok((Box::new(stream), None));
    }
    let options = TlsOptions { server_name: None, protocols: vec!["http/1.1".to_owned()] };
    // The codes of WASI have no room for the words.
    let words = |failure: Failure| Error::InternalError(Some(failure.message().to_owned()));
    let (stream, talk) = gate.encrypt(destination, &options, stream).await.map_err(words)?;
    Ok((Box::new(stream), Some(talk)))
}

/// What broke an exchange: where it was the encryption, in its words.
fn broken(error: hyper::Error, talk: Option<&Talk>) -> Error {
    let mut cause = StdError::source(&error);
    while let Some(found) = cause {
        let inner = found.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let (Some(talk), Some(error)) = (talk, inner.and_then(|inner| inner.downcast_ref::<rustls::Error>())) {
            return Error::InternalError(Some(talk.broken(error).to_string()));
        }
        cause = found.source();
    }
    Error::from(error)
}

async fn send(
    gate: &Gate,
    mut request: Request<WasiBody>,
    options: RequestOptions,
    buffered: usize,
) -> Result<(Response<WasiBody>, Io), Error> {
    let authority = request.uri().authority().ok_or(Error::HttpRequestUriInvalid)?;
    let host = authority.host().to_owned();
    let encrypted = request.uri().scheme() == Some(&Scheme::HTTPS);
    let port = authority.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
    let kind = if encrypted { AbilityKind::Https } else { AbilityKind::Http };
    let destination = gate.check_name(Door::Http, kind, &host, port).map_err(told)?;
    if let Some(authorization) = gate.attachment(&destination).and_then(Attachment::authorization) {
        request = authorization.put_on(request, encrypted).await?;
    }
    let permits = (gate.request().map_err(told)?, gate.socket().map_err(told)?);
    let connect = options.connect_timeout.unwrap_or(PATIENCE);
    let (stream, talk) =
        tokio::time::timeout(connect, dial(gate, &destination)).await.map_err(|_| Error::ConnectionTimeout)??;
    let (request_permit, socket) = permits;
    let stream = Counted { stream, tally: Tally::new(socket, gate.traffic(&destination)), _request: request_permit };
    let (mut sender, connection) =
        hyper::client::conn::http1::Builder::new().max_buf_size(buffered).handshake(TokioIo::new(stream)).await?;
    let worker = tokio::spawn(connection);
    let abort = Abort(worker.abort_handle());
    // A server that is not a proxy gets the path only.
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    *request.uri_mut() = Uri::try_from(path).map_err(|_| Error::HttpRequestUriInvalid)?;
    let first = options.first_byte_timeout.unwrap_or(PATIENCE);
    let response = tokio::time::timeout(first, sender.send_request(request))
        .await
        .map_err(|_| Error::ConnectionReadTimeout)?
        .map_err(|error| broken(error, talk.as_ref()))?;
    let io: Io = Box::new(async move {
        let _abort = abort;
        match worker.await {
            Ok(ended) => ended.map_err(Error::from),
            Err(_) => Ok(()),
        }
    });
    Ok((response.map(|body| body.map_err(Error::from).boxed_unsync()), io))
}

/// The connection of one request: what passes is counted, and it counts as open as long as it is.
struct Counted {
    stream: Box<dyn Duplex>,
    tally: Tally,
    _request: Permit,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.tally.received(buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = written {
            self.tally.sent(written);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Ends the connection's task with the request that it serves.
struct Abort(tokio::task::AbortHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn told(failure: Failure) -> Error {
    match failure {
        Failure::Denied(_) => Error::HttpRequestDenied,
        Failure::UnknownName(message) => Error::DnsError { rcode: Some(message), info_code: None },
        Failure::Unreachable(message) => Error::Connect(std::io::Error::other(message)),
        Failure::Limited(_) => Error::ConnectionLimitReached,
        Failure::Unsupported(_) | Failure::Invalid(_) => Error::InternalError(Some(failure.message().to_owned())),
    }
}
