//! TLS by the host: whom it trusts, what it proves, and how a connection gets encrypted. No key ever enters a guest.

mod attachment;
mod explain;
mod session;
mod verifier;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ferrule_model::capability::Host;
use rustls::RootCertStore;
use rustls::client::{ClientConfig, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, DnsName, ServerName};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::gate::{Destination, Failure};

pub use attachment::{AttachError, Attached, Attachment, Attachments, Authorization, Keys};
pub(crate) use explain::Talk;
pub(super) use session::Session;
use verifier::{Naming, Proof};

/// How long the other side may take over the handshake. Threat: one that accepts and says nothing.
const HANDSHAKE: Duration = Duration::from_secs(8);

/// What a guest wants of an encrypted connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsOptions {
    /// The name that the certificate must carry; none: the host connected to.
    pub(crate) server_name: Option<String>,
    /// Protocols to offer, in order.
    pub(crate) protocols: Vec<String>,
}

impl TlsOptions {
    /// What a guest wrote, if it makes sense.
    pub(crate) fn read(
        server_name: Option<String>,
        protocols: Vec<String>,
        properties: &[(String, String)],
    ) -> Result<Self, Failure> {
        if let Some((name, _)) = properties.first() {
            return Err(Failure::Unsupported(format!(
                "there is no TLS option `{name:.100}` in this version of Ferrule; it has `server-name` and `protocols`"
            )));
        }
        if let Some(wrong) = protocols.iter().find(|name| name.is_empty() || name.len() > 255) {
            return Err(Failure::Invalid(format!(
                "`{wrong:.100}` is no name of a protocol: expected 1 to 255 bytes, such as `mqtt`"
            )));
        }
        Ok(Self { server_name, protocols })
    }
}

/// Makes encrypted connections. Cloning it is cheap.
#[derive(Clone)]
pub(crate) struct Tls(Arc<Inner>);

struct Inner {
    provider: Arc<CryptoProvider>,
    /// As the system trusts: read when it is first needed, because reading it takes some ten milliseconds.
    system: OnceLock<Result<Arc<WebPkiServerVerifier>, String>>,
    /// For connections to which nothing is attached.
    plain: OnceLock<Arc<ClientConfig>>,
}

impl Default for Tls {
    fn default() -> Self {
        Self(Arc::new(Inner { provider: provider(), system: OnceLock::new(), plain: OnceLock::new() }))
    }
}

/// ring, because it needs no C tools besides a compiler, and is built already for NATS.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A verifier that trusts these authorities and no others.
fn trusting(
    provider: &Arc<CryptoProvider>,
    certificates: impl IntoIterator<Item = CertificateDer<'static>>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| error.to_string())
}

/// A configuration: TLS 1.2 and 1.3, the server's name checked.
fn configuration(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<WebPkiServerVerifier>,
) -> Result<Arc<ClientConfig>, String> {
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Naming(verifier)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl Tls {
    /// Encrypts a fresh connection to `destination`, to which `attachment` belongs.
    pub(super) async fn encrypt(
        &self,
        destination: &Destination,
        attachment: Option<&Attachment>,
        options: &TlsOptions,
        class: &str,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Talk), Failure> {
        let name = expected(destination, attachment, options)?;
        let mut config = ClientConfig::clone(&*self.configuration(attachment).await?);
        let asked = Arc::new(AtomicBool::new(false));
        let key: Option<Arc<CertifiedKey>> = attachment.and_then(Attachment::key);
        let talk = Talk::new(destination, class, asked.clone(), attachment);
        config.alpn_protocols = options.protocols.iter().map(|name| name.clone().into_bytes()).collect();
        config.client_auth_cert_resolver = Arc::new(Proof { key, asked });
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
        match tokio::time::timeout(HANDSHAKE, handshake).await {
            Ok(Ok(stream)) => Ok((stream, talk)),
            Ok(Err(error)) => Err(Failure::Unreachable(talk.handshake(&error))),
            Err(_) => Err(Failure::Unreachable(talk.silence(HANDSHAKE))),
        }
    }

    async fn configuration(&self, attachment: Option<&Attachment>) -> Result<Arc<ClientConfig>, Failure> {
        let cell = attachment.map_or(&self.0.plain, Attachment::config);
        if let Some(config) = cell.get() {
            return Ok(config.clone());
        }
        let none = |error: String| Failure::Unreachable(format!("no TLS connection can be made: {error}"));
        let verifier = match attachment.and_then(Attachment::roots) {
            Some(verifier) => verifier,
            None => self.system().await.map_err(none)?,
        };
        let config = configuration(&self.0.provider, verifier).map_err(none)?;
        Ok(cell.get_or_init(|| config).clone())
    }

    /// What the system trusts; read from disk once.
    async fn system(&self) -> Result<Arc<WebPkiServerVerifier>, String> {
        if let Some(known) = self.0.system.get() {
            return known.clone();
        }
        let inner = self.0.clone();
        let read = tokio::task::spawn_blocking(move || {
            inner
                .system
                .get_or_init(|| {
                    let found = rustls_native_certs::load_native_certs();
                    trusting(&inner.provider, found.certs).map_err(|_| {
                        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
                        format!(
                            "this machine has no certificates of authorities{why}; install them (often a package \
                             `ca-certificates`), name a file in SSL_CERT_FILE, or attach `roots` in a Grant"
                        )
                    })
                })
                .clone()
        });
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// The name that the server must prove: the operator's word, else the guest's, else the host's own. A guest may choose it only
/// where nothing is proved to the server.
fn expected(
    destination: &Destination,
    attachment: Option<&Attachment>,
    options: &TlsOptions,
) -> Result<ServerName<'static>, Failure> {
    let host = destination.host();
    let set = attachment.and_then(Attachment::server_name);
    if let (Some(attachment), Some(wanted)) = (attachment, &options.server_name) {
        let named =
            |text: &str| Host::parse(wanted).is_ok_and(|wanted| Host::parse(text).is_ok_and(|host| wanted == host));
        if attachment.proves() && !named(set.map_or(&*host.to_string(), |name| name)) {
            return Err(Failure::Invalid(format!(
                "the server's name is not the guest's to choose where a certificate is attached; leave out `{wanted:.100}`, or \
                 have it set with `serverName` in the Grant"
            )));
        }
    }
    let text = set.map(str::to_owned).or_else(|| options.server_name.clone());
    let host = match text {
        Some(text) => Host::parse(&text)
            .map_err(|problem| Failure::Invalid(format!("`{text:.300}` is no name of a server: {problem}")))?,
        None => host.clone(),
    };
    match host {
        Host::Address(address) => Ok(ServerName::IpAddress(address.into())),
        Host::Name(name) => DnsName::try_from(name.as_str().to_owned())
            .map(ServerName::DnsName)
            .map_err(|_| Failure::Invalid(format!("`{name:.300}` cannot stand in a certificate"))),
    }
}

#[cfg(test)]
pub(crate) mod tests;
