//! The platform as a gRPC service.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use tokio_stream::Stream;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo, UdsConnectInfo};
use tonic::{Request, Response, Status, Streaming};

use crate::error::Error;
use crate::platform::{Platform, Reports};
use crate::proto::ferrule_server::{Ferrule, FerruleServer};
use crate::request::{AuditQuery, ControlAction, Inspection, Registration};
use crate::{proto, wire};

/// The largest message: a document set with the files it names. A component comes in parts and may be larger.
pub const LARGEST_MESSAGE: usize = 64 * 1024 * 1024;

/// The largest component that is taken in, so that a caller cannot fill the server's memory. An interpreter compiled to a
/// component has 30 to 40 MiB.
pub const LARGEST_COMPONENT: usize = 256 * 1024 * 1024;

/// The shortest interval of a status watch; shorter ones are lengthened to it.
const SHORTEST_INTERVAL_MS: u32 = 100;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A process on this machine, by its user id.
    Local {
        /// The user id, where the system tells.
        user: Option<u32>,
    },
    /// Somebody on the network.
    Network {
        /// The address, as far as it is known.
        address: String,
        /// The token that came with the call.
        token: Option<String>,
        /// The client certificate (DER), whose authority the server trusts.
        certificate: Option<Vec<u8>>,
    },
}

/// What a caller must be allowed to for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// To see what is there and how it does.
    Read,
    /// To change something, or to have something run.
    Write,
}

/// Gives each caller the platform to act on, as who they are.
pub trait Access: Send + Sync + 'static {
    /// The platform, acting for `peer`, if it has the right.
    fn platform(&self, peer: Peer, right: Right) -> Result<Arc<dyn Platform>, Error>;
}

/// The service, ready for `tonic::transport::Server::add_service`.
pub fn service(access: Arc<dyn Access>) -> FerruleServer<Service> {
    FerruleServer::new(Service { access })
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE)
}

/// Adapts [`Platform`] to the generated service trait.
#[derive(Clone)]
pub struct Service {
    access: Arc<dyn Access>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Service")
    }
}

type Outgoing<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    fn platform<T>(&self, request: &Request<T>, right: Right) -> Result<Arc<dyn Platform>, Status> {
        let extensions = request.extensions();
        let peer = if let Some(info) = extensions.get::<UdsConnectInfo>() {
            Peer::Local { user: info.peer_cred.map(|c| c.uid()) }
        } else {
            let encrypted = extensions.get::<TlsConnectInfo<TcpConnectInfo>>();
            let certificates = encrypted.and_then(TlsConnectInfo::peer_certs);
            let tcp = extensions.get::<TcpConnectInfo>().or(encrypted.map(TlsConnectInfo::get_ref));
            let address = tcp.and_then(TcpConnectInfo::remote_addr);
            let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
            Peer::Network {
                address: address.map(|a| a.to_string()).unwrap_or_default(),
                token: token.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned),
                certificate: certificates.and_then(|all| all.first().map(|first| first.to_vec())),
            }
        };
        Ok(self.access.platform(peer, right)?)
    }

    async fn steer(
        &self,
        request: Request<proto::ControlRequest>,
        action: ControlAction,
    ) -> Result<Response<proto::ControlResponse>, Status> {
        let platform = self.platform(&request, Right::Write)?;
        let control = wire::control_in(request.into_inner(), action)?;
        let objects = platform.control(control).await?;
        Ok(Response::new(proto::ControlResponse { objects: wire::objects_out(&objects) }))
    }
}

fn outgoing<A: 'static, B: From<A> + 'static>(reports: Reports<A>) -> Response<Outgoing<B>> {
    Response::new(Box::pin(reports.map(|report| report.map(B::from).map_err(Status::from))))
}

/// Adds a part of a file that comes in several messages.
fn collect(content: &mut Vec<u8>, chunk: &[u8]) -> Result<(), Status> {
    if content.len() + chunk.len() > LARGEST_COMPONENT {
        let largest = LARGEST_COMPONENT / (1024 * 1024);
        return Err(Status::resource_exhausted(format!("the component is larger than {largest} MiB")));
    }
    content.extend_from_slice(chunk);
    Ok(())
}

#[async_trait]
impl Ferrule for Service {
    type WatchStatusStream = Outgoing<proto::StatusResponse>;
    type TailStream = Outgoing<proto::TailResponse>;
    type LogsStream = Outgoing<proto::LogLine>;
    type DeadLettersStream = Outgoing<proto::DeadLetter>;
    type ReplayDeadLettersStream = Outgoing<proto::ReplayProgress>;
    type BackupStream = Outgoing<proto::BackupPiece>;

    async fn version(
        &self,
        request: Request<proto::VersionRequest>,
    ) -> Result<Response<proto::VersionResponse>, Status> {
        Ok(Response::new(self.platform(&request, Right::Read)?.version().await?.into()))
    }

    async fn apply(&self, request: Request<proto::ApplyRequest>) -> Result<Response<proto::ApplyResponse>, Status> {
        let platform = self.platform(&request, Right::Write)?;
        let application = wire::application_in(request.into_inner())?;
        Ok(Response::new(platform.apply(application).await?.into()))
    }

    async fn diff(&self, request: Request<proto::DiffRequest>) -> Result<Response<proto::DiffResponse>, Status> {
        let platform = self.platform(&request, Right::Read)?;
        let application = wire::application_in(request.into_inner().apply.unwrap_or_default())?;
        Ok(Response::new(platform.diff(application).await?.into()))
    }

    async fn get(&self, request: Request<proto::GetRequest>) -> Result<Response<proto::GetResponse>, Status> {
        let platform = self.platform(&request, Right::Read)?;
        let objects = platform.get(wire::query_in(request.into_inner())?).await?;
        Ok(Response::new(proto::GetResponse { objects: objects.into_iter().map(Into::into).collect() }))
    }

    async fn delete(&self, request: Request<proto::DeleteRequest>) -> Result<Response<proto::DeleteResponse>, Status> {
        let platform = self.platform(&request, Right::Write)?;
        let objects = platform.delete(wire::deletion_in(request.into_inner())?).await?;
        Ok(Response::new(proto::DeleteResponse { objects: wire::objects_out(&objects) }))
    }

    async fn register(
        &self,
        request: Request<Streaming<proto::RegisterRequest>>,
    ) -> Result<Response<proto::RegisterResponse>, Status> {
        let platform = self.platform(&request, Right::Write)?;
        let mut parts = request.into_inner();
        let mut options = None;
        let mut content = Vec::new();
        while let Some(part) = parts.message().await? {
            options = options.or(part.options);
            collect(&mut content, &part.chunk)?;
        }
        let options = options.unwrap_or_default();
        let some = |text: String| (!text.is_empty()).then_some(text);
        let registration = Registration {
            content,
            file: options.file,
            name: some(options.name),
            for_class: some(options.for_class),
            replace: options.replace,
            grant: options.grant,
            dry_run: options.dry_run,
        };
        Ok(Response::new(platform.register(registration).await?.into()))
    }

    async fn inspect(
        &self,
        request: Request<Streaming<proto::InspectRequest>>,
    ) -> Result<Response<proto::InspectResponse>, Status> {
        let platform = self.platform(&request, Right::Write)?;
        let mut parts = request.into_inner();
        let mut reference = String::new();
        let mut content = Vec::new();
        while let Some(part) = parts.message().await? {
            if reference.is_empty() {
                reference = part.reference;
            }
            collect(&mut content, &part.chunk)?;
        }
        let inspection =
            if reference.is_empty() { Inspection::Content(content) } else { Inspection::Reference(reference) };
        let (component, used_by) = platform.inspect(inspection).await?;
        Ok(Response::new(proto::InspectResponse { component: Some(component.into()), used_by }))
    }

    async fn status(&self, request: Request<proto::StatusRequest>) -> Result<Response<proto::StatusResponse>, Status> {
        let platform = self.platform(&request, Right::Read)?;
        Ok(Response::new(platform.status(request.into_inner().into()).await?.into()))
    }

    async fn watch_status(
        &self,
        request: Request<proto::WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        let platform = self.platform(&request, Right::Read)?;
        let request = request.into_inner();
        let interval = match request.interval_ms {
            0 => 1000,
            ms => ms.max(SHORTEST_INTERVAL_MS),
        };
        let interval = std::time::Duration::from_millis(interval.into());
        let query = request.status.unwrap_or_default().into();
        Ok(outgoing(platform.watch_status(query, interval).await?))
    }

    async fn tail(&self, request: Request<proto::TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        let platform = self.platform(&request, Right::Read)?;
        Ok(outgoing(platform.tail(request.into_inner().into()).await?))
    }

    async fn logs(&self, request: Request<proto::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let platform = self.platform(&request, Right::Read)?;
        Ok(outgoing(platform.logs(request.into_inner().into()).await?))
    }

    async fn r#try(&self, request: Request<proto::TryRequest>) -> Result<Response<proto::TryResponse>, Status> {
        let platform = self.platform(&request, Right::Write)?;
        let steps = platform.trial(request.into_inner().into()).await?;
        Ok(Response::new(proto::TryResponse { steps: steps.into_iter().map(Into::into).collect() }))
    }

    async fn dead_letters(
        &self,
        request: Request<proto::DeadLettersRequest>,
    ) -> Result<Response<Self::DeadLettersStream>, Status> {
        let platform = self.platform(&request, Right::Read)?;
        Ok(outgoing(platform.dead_letters(request.into_inner().into()).await?))
    }

    async fn replay_dead_letters(
        &self,
        request: Request<proto::DeadLettersRequest>,
    ) -> Result<Response<Self::ReplayDeadLettersStream>, Status> {
        let platform = self.platform(&request, Right::Write)?;
        Ok(outgoing(platform.replay_dead_letters(request.into_inner().into()).await?))
    }

    async fn drop_dead_letters(
        &self,
        request: Request<proto::DropDeadLettersRequest>,
    ) -> Result<Response<proto::DropDeadLettersResponse>, Status> {
        let platform = self.platform(&request, Right::Write)?;
        Ok(Response::new(platform.drop_dead_letters(request.into_inner().numbers).await?.into()))
    }

    async fn rewind(&self, request: Request<proto::RewindRequest>) -> Result<Response<proto::RewindResponse>, Status> {
        let platform = self.platform(&request, Right::Write)?;
        let streams = platform.rewind(wire::rewind_in(request.into_inner())?).await?;
        Ok(Response::new(proto::RewindResponse { streams: streams.into_iter().map(Into::into).collect() }))
    }

    async fn audit(&self, request: Request<proto::AuditRequest>) -> Result<Response<proto::AuditResponse>, Status> {
        let platform = self.platform(&request, Right::Read)?;
        let request = request.into_inner();
        let query = AuditQuery { stream: Some(request.stream).filter(|name| !name.is_empty()), denied: request.denied };
        Ok(Response::new(platform.audit(query).await?.into()))
    }

    async fn backup(&self, request: Request<proto::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        let platform = self.platform(&request, Right::Write)?;
        Ok(outgoing(platform.backup(request.into_inner().secret_key).await?))
    }

    async fn hold(&self, request: Request<proto::ControlRequest>) -> Result<Response<proto::ControlResponse>, Status> {
        self.steer(request, ControlAction::Hold).await
    }

    async fn resume(
        &self,
        request: Request<proto::ControlRequest>,
    ) -> Result<Response<proto::ControlResponse>, Status> {
        self.steer(request, ControlAction::Resume).await
    }

    async fn drain(&self, request: Request<proto::ControlRequest>) -> Result<Response<proto::ControlResponse>, Status> {
        let deadline = wire::deadline(request.get_ref());
        self.steer(request, ControlAction::Drain { deadline }).await
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        error.into_status()
    }
}
