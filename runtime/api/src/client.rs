//! The platform at the other end of a connection.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use ferrule_model::{Code, Diagnostic};

use crate::address::Address;
use crate::error::{Error, LARGEST_STATUS};
use crate::grpc::LARGEST_MESSAGE;
use crate::platform::{Platform, Reports};
use crate::proto::ferrule_client::FerruleClient;
use crate::report::{
    Applied, AppliedObject, AuditReport, ComponentFacts, DeadLetter, Differences, Dropped, LogLine, ReadFrom,
    Registered, ReplayProgress, StatusReport, StoredObject, Tailed, TrialStep, VersionReport,
};
use crate::request::{
    Application, AuditQuery, Control, ControlAction, DeadLetterQuery, Deletion, Inspection, LogQuery, Query,
    Registration, Rewind, StatusQuery, Tail, Trial,
};
use crate::{proto, wire};

/// How long to wait for a server to answer the connection; a local one does at once, or never.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The size of the parts in which a component is sent.
const CHUNK: usize = 256 * 1024;

/// A connection to a server; cheap to clone. All calls are those of [`Platform`].
#[derive(Debug, Clone)]
pub struct Client {
    inner: FerruleClient<InterceptedService<Channel, Token>>,
    address: Address,
}

/// What a caller proves itself with, and whom it trusts. Texts of keys and certificates are PEM.
#[derive(Clone, Default)]
pub struct Credentials {
    /// A token. It is sent over TLS only.
    pub token: Option<String>,
    /// The authorities to trust, in place of the system's.
    pub roots: Option<Vec<u8>>,
    /// The client certificate with its chain, and its private key.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Credentials {
    /// Without what is secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// Sends a token with every call.
#[derive(Clone, Debug)]
struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

impl Client {
    /// Connects; [`Error::NoServer`] if nobody answers there.
    pub async fn connect(address: Address) -> Result<Self, Error> {
        Self::connect_as(address, Credentials::default()).await
    }

    /// The same as somebody. Without TLS, credentials would be readable by everybody on the way, and are refused.
    pub async fn connect_as(address: Address, credentials: Credentials) -> Result<Self, Error> {
        let no_server = |reason: String| Error::NoServer { address: address.clone(), reason };
        let mut endpoint = Endpoint::from_shared(address.to_string())
            .map_err(|error| no_server(reason_of(&error)))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_max_header_list_size(LARGEST_STATUS);
        let mut token = None;
        match &address {
            Address::Unix(_) => {}
            Address::Tcp(_) if credentials.token.is_some() || credentials.certificate.is_some() => {
                let text =
                    format!("a token or certificate is not sent to {address}: everybody on the way could read it");
                let help = "use https://, and a server with --tls-cert and --tls-key";
                return Err(Error::refused(Diagnostic::new(Code::AccessDenied, text).help(help)));
            }
            Address::Tcp(_) => {}
            Address::Tls(_) => {
                let tls = tls(&credentials);
                endpoint = endpoint.tls_config(tls).map_err(|error| no_server(reason_of(&error)))?;
                token = credentials.token.map(bearer).transpose()?;
            }
        }
        let channel = endpoint.connect().await.map_err(|error| no_server(reason_of(&error)))?;
        let inner = FerruleClient::with_interceptor(channel, Token(token))
            .max_decoding_message_size(LARGEST_MESSAGE)
            .max_encoding_message_size(LARGEST_MESSAGE);
        Ok(Self { inner, address })
    }

    /// Where the server is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    fn inner(&self) -> FerruleClient<InterceptedService<Channel, Token>> {
        self.inner.clone()
    }

    fn failed(&self, status: tonic::Status) -> Error {
        Error::from_status(&status, &self.address)
    }

    fn incoming<A: Send + 'static, B: Send + 'static>(
        &self,
        stream: tonic::Streaming<A>,
        read: impl Fn(A) -> Result<B, Error> + Send + 'static,
    ) -> Reports<B> {
        let address = self.address.clone();
        Box::pin(stream.map(move |item| match item {
            Ok(item) => read(item),
            Err(status) => Err(Error::from_status(&status, &address)),
        }))
    }
}

fn tls(credentials: &Credentials) -> ClientTlsConfig {
    let tls = match &credentials.roots {
        Some(roots) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    match &credentials.certificate {
        Some((chain, key)) => tls.identity(Identity::from_pem(chain, key)),
        None => tls,
    }
}

fn bearer(token: String) -> Result<MetadataValue<Ascii>, Error> {
    let mut value = MetadataValue::try_from(format!("Bearer {token}")).map_err(|_| {
        let text = "the token has characters that cannot be sent, such as a line break";
        Error::refused(
            Diagnostic::new(Code::AccessDenied, text).help("a token is one line of letters, digits and signs"),
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The innermost reason: transport errors say only "transport error" themselves.
fn reason_of(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[async_trait]
impl Platform for Client {
    async fn version(&self) -> Result<VersionReport, Error> {
        let answer = self.inner().version(proto::VersionRequest {}).await.map_err(|s| self.failed(s))?;
        Ok(answer.into_inner().into())
    }

    async fn apply(&self, application: Application) -> Result<Applied, Error> {
        let request = proto::ApplyRequest::from(application);
        wire::applied_in(self.inner().apply(request).await.map_err(|s| self.failed(s))?.into_inner())
    }

    async fn diff(&self, application: Application) -> Result<Differences, Error> {
        let request = proto::DiffRequest { apply: Some(application.into()) };
        wire::differences_in(self.inner().diff(request).await.map_err(|s| self.failed(s))?.into_inner())
    }

    async fn get(&self, query: Query) -> Result<Vec<StoredObject>, Error> {
        let request = proto::GetRequest::from(query);
        let answer = self.inner().get(request).await.map_err(|s| self.failed(s))?;
        answer.into_inner().objects.into_iter().map(wire::stored_in).collect()
    }

    async fn delete(&self, deletion: Deletion) -> Result<Vec<AppliedObject>, Error> {
        let request = proto::DeleteRequest::from(deletion);
        wire::objects_in(self.inner().delete(request).await.map_err(|s| self.failed(s))?.into_inner().objects)
    }

    async fn register(&self, registration: Registration) -> Result<Registered, Error> {
        let first = proto::RegisterRequest {
            options: Some(proto::RegisterOptions {
                name: registration.name.unwrap_or_default(),
                for_class: registration.for_class.unwrap_or_default(),
                replace: registration.replace,
                grant: registration.grant,
                dry_run: registration.dry_run,
                file: registration.file,
            }),
            chunk: Vec::new(),
        };
        let rest = chunks(registration.content).map(|chunk| proto::RegisterRequest { options: None, chunk });
        let request = tokio_stream::iter(std::iter::once(first).chain(rest));
        wire::registered_in(self.inner().register(request).await.map_err(|s| self.failed(s))?.into_inner())
    }

    async fn inspect(&self, inspection: Inspection) -> Result<(ComponentFacts, Vec<String>), Error> {
        let (reference, content) = match inspection {
            Inspection::Reference(reference) => (reference, Vec::new()),
            Inspection::Content(content) => (String::new(), content),
        };
        let first = proto::InspectRequest { reference, chunk: Vec::new() };
        let rest = chunks(content).map(|chunk| proto::InspectRequest { reference: String::new(), chunk });
        let request = tokio_stream::iter(std::iter::once(first).chain(rest));
        let answer = self.inner().inspect(request).await.map_err(|s| self.failed(s))?.into_inner();
        Ok((wire::facts_in(answer.component)?, answer.used_by))
    }

    async fn status(&self, query: StatusQuery) -> Result<StatusReport, Error> {
        let request = proto::StatusRequest::from(query);
        wire::status_in(self.inner().status(request).await.map_err(|s| self.failed(s))?.into_inner())
    }

    async fn watch_status(&self, query: StatusQuery, interval: Duration) -> Result<Reports<StatusReport>, Error> {
        let interval_ms = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
        let request = proto::WatchStatusRequest { status: Some(query.into()), interval_ms };
        let stream = self.inner().watch_status(request).await.map_err(|s| self.failed(s))?.into_inner();
        Ok(self.incoming(stream, wire::status_in))
    }

    async fn tail(&self, tail: Tail) -> Result<Reports<Tailed>, Error> {
        let request = proto::TailRequest::from(tail);
        let stream = self.inner().tail(request).await.map_err(|s| self.failed(s))?.into_inner();
        Ok(self.incoming(stream, |item| Ok(item.into())))
    }

    async fn logs(&self, query: LogQuery) -> Result<Reports<LogLine>, Error> {
        let request = proto::LogsRequest::from(query);
        let stream = self.inner().logs(request).await.map_err(|s| self.failed(s))?.into_inner();
        Ok(self.incoming(stream, |item| Ok(item.into())))
    }

    async fn trial(&self, trial: Trial) -> Result<Vec<TrialStep>, Error> {
        let request = proto::TryRequest::from(trial);
        let answer = self.inner().r#try(request).await.map_err(|s| self.failed(s))?;
        Ok(answer.into_inner().steps.into_iter().map(Into::into).collect())
    }

    async fn dead_letters(&self, query: DeadLetterQuery) -> Result<Reports<DeadLetter>, Error> {
        let request = proto::DeadLettersRequest::from(query);
        let stream = self.inner().dead_letters(request).await.map_err(|s| self.failed(s))?.into_inner();
        Ok(self.incoming(stream, |item| Ok(item.into())))
    }

    async fn replay_dead_letters(&self, query: DeadLetterQuery) -> Result<Reports<ReplayProgress>, Error> {
        let request = proto::DeadLettersRequest::from(query);
        let stream = self.inner().replay_dead_letters(request).await.map_err(|s| self.failed(s))?.into_inner();
        Ok(self.incoming(stream, wire::progress_in))
    }

    async fn drop_dead_letters(&self, numbers: Vec<u64>) -> Result<Dropped, Error> {
        let request = proto::DropDeadLettersRequest { numbers };
        Ok(self.inner().drop_dead_letters(request).await.map_err(|s| self.failed(s))?.into_inner().into())
    }

    async fn rewind(&self, rewind: Rewind) -> Result<Vec<ReadFrom>, Error> {
        let request = proto::RewindRequest::from(rewind);
        let answer = self.inner().rewind(request).await.map_err(|s| self.failed(s))?.into_inner();
        Ok(answer.streams.into_iter().map(Into::into).collect())
    }

    async fn audit(&self, query: AuditQuery) -> Result<AuditReport, Error> {
        let request = proto::AuditRequest { stream: query.stream.unwrap_or_default(), denied: query.denied };
        Ok(self.inner().audit(request).await.map_err(|s| self.failed(s))?.into_inner().into())
    }

    async fn backup(&self, secret_key: bool) -> Result<Reports<Vec<u8>>, Error> {
        let request = proto::BackupRequest { secret_key };
        let stream = self.inner().backup(request).await.map_err(|s| self.failed(s))?.into_inner();
        Ok(self.incoming(stream, |piece| Ok(piece.content)))
    }

    async fn control(&self, control: Control) -> Result<Vec<AppliedObject>, Error> {
        let request = proto::ControlRequest::from(&control);
        let mut inner = self.inner();
        let answer = match control.action {
            ControlAction::Hold => inner.hold(request).await,
            ControlAction::Resume => inner.resume(request).await,
            ControlAction::Drain { .. } => inner.drain(request).await,
        };
        wire::objects_in(answer.map_err(|s| self.failed(s))?.into_inner().objects)
    }
}

fn chunks(content: Vec<u8>) -> impl Iterator<Item = Vec<u8>> + Send + 'static {
    let content = bytes::Bytes::from(content);
    (0..content.len()).step_by(CHUNK).map(move |start| content[start..content.len().min(start + CHUNK)].to_vec())
}
