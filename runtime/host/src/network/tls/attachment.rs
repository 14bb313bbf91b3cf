//! What the host adds to a guest's connections and requests to one host and port: trust, a client certificate, credentials.

use std::fmt;
use std::sync::{Arc, OnceLock};

use ferrule_model::capability::{Ability, AbilityKind, Host, Range};
use rustls::client::{ClientConfig, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};

use super::{provider, trusting};
use crate::network::credentials::Prepared;
pub use crate::network::credentials::{Authorization, Keys};

/// The contents of an attachment. Texts of keys and certificates are PEM.
#[derive(Clone, Default)]
pub struct Attached {
    /// The authorities to trust there, in place of the system's.
    pub roots: Option<Vec<u8>>,
    /// The name that the server must prove, in place of the host connected to.
    pub server_name: Option<String>,
    /// The client certificate with its chain, and its private key.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// What is put on every HTTP request.
    pub authorization: Option<Authorization>,
}

impl fmt::Debug for Attached {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attached").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// Why something cannot be attached. It repeats nothing of what is secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {detail}")]
pub struct AttachError {
    /// The field of the entry.
    pub field: &'static str,
    /// What is wrong, and what was expected.
    pub detail: String,
}

impl AttachError {
    pub(crate) fn new(field: &'static str, detail: impl Into<String>) -> Self {
        Self { field, detail: detail.into() }
    }
}

/// What is attached to connections or requests of one kind to one host and port; two are equal if they do the same.
pub struct Attachment {
    to: Ability,
    digest: [u8; 32],
    server_name: Option<String>,
    roots: Option<Arc<WebPkiServerVerifier>>,
    key: Option<Arc<CertifiedKey>>,
    authorization: Option<Prepared>,
    config: OnceLock<Arc<ClientConfig>>,
}

impl Attachment {
    /// An attachment for what goes `to` this host and port: an ability of kind `tls`, `https` or `http`.
    pub fn new(to: Ability, attached: Attached) -> Result<Self, AttachError> {
        let in_clear = to.kind == AbilityKind::Http;
        if !to.is_literal() || !matches!(to.kind, AbilityKind::Tls | AbilityKind::Https | AbilityKind::Http) {
            let detail = "expected one host and one port, as `tls`, `https` or, on this machine, `http`";
            return Err(AttachError::new("to", detail));
        }
        if in_clear && to.range() != Range::Loopback {
            let detail =
                "over `http` everybody on the way could read it; use `https`, which `http` is only for this machine";
            return Err(AttachError::new("to", detail));
        }
        let digest = digest(&to, &attached);
        let roots = attached.roots.as_deref().map(|text| {
            let certificates = certificates("roots", text)?;
            trusting(&provider(), certificates).map_err(|_| {
                AttachError::new("roots", "there is no certificate of an authority in it that can be used")
            })
        });
        let key = attached.certificate.map(|(chain, key)| certified(&chain, &key));
        let authorization = attached.authorization.map(Prepared::new);
        Ok(Self {
            to,
            digest,
            server_name: attached.server_name,
            roots: roots.transpose()?,
            key: key.transpose()?,
            authorization: authorization.transpose()?,
            config: OnceLock::new(),
        })
    }

    fn is_for(&self, kind: AbilityKind, host: &Host, port: u16) -> bool {
        self.to.kind == kind && self.to.permits_host(kind, host, port)
    }

    /// Whether something is proved to the server.
    pub(super) fn proves(&self) -> bool {
        self.key.is_some() || self.authorization.is_some()
    }

    pub(super) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    pub(super) fn roots(&self) -> Option<Arc<WebPkiServerVerifier>> {
        self.roots.clone()
    }

    pub(super) fn key(&self) -> Option<Arc<CertifiedKey>> {
        self.key.clone()
    }

    pub(super) fn config(&self) -> &OnceLock<Arc<ClientConfig>> {
        &self.config
    }

    pub(crate) fn authorization(&self) -> Option<&Prepared> {
        self.authorization.as_ref()
    }
}

impl PartialEq for Attachment {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Attachment {}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment").field("to", &self.to).finish_non_exhaustive()
    }
}

/// Everything that is attached for a guest. Cloning it is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachments(Arc<[Attachment]>);

impl Attachments {
    pub(crate) fn find(&self, kind: AbilityKind, host: &Host, port: u16) -> Option<&Attachment> {
        self.0.iter().find(|attachment| attachment.is_for(kind, host, port))
    }
}

impl FromIterator<Attachment> for Attachments {
    fn from_iter<I: IntoIterator<Item = Attachment>>(attachments: I) -> Self {
        Self(attachments.into_iter().collect())
    }
}

fn certificates(field: &'static str, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, AttachError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(AttachError::new(field, "expected PEM: `-----BEGIN CERTIFICATE-----` and what follows")),
    }
}

fn certified(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, AttachError> {
    let chain = certificates("certificate", chain)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
        AttachError::new(
            "key",
            "expected a private key in PEM, without a password: `-----BEGIN PRIVATE KEY-----` and what follows",
        )
    })?;
    let key = provider().key_provider.load_private_key(key).map_err(|_| {
        AttachError::new("key", "this kind of key cannot be used; expected RSA, ECDSA (P-256, P-384) or Ed25519")
    })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(Arc::new(certified)),
        Err(_) => Err(AttachError::new("key", "it does not belong to the certificate")),
    }
}

/// Of everything that counts, each part with its length, so that no two attachments have the same by accident.
fn digest(to: &Ability, attached: &Attached) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |part: Option<&[u8]>| match part {
        Some(part) => {
            hash.update((part.len() as u64 + 1).to_le_bytes());
            hash.update(part);
        }
        None => hash.update(0_u64.to_le_bytes()),
    };
    add(Some(to.to_string().as_bytes()));
    add(attached.roots.as_deref());
    add(attached.server_name.as_deref().map(str::as_bytes));
    add(attached.certificate.as_ref().map(|(chain, _)| chain.as_slice()));
    add(attached.certificate.as_ref().map(|(_, key)| key.as_slice()));
    match &attached.authorization {
        Some(authorization) => authorization.parts().iter().for_each(|part| add(Some(part.as_bytes()))),
        None => add(None),
    }
    hash.finalize().into()
}
