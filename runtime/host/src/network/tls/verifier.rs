//! The two sides of proof: the server's certificate, and the client's where one is attached.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

/// The usual verifier, which says in addition who issued what it does not trust.
#[derive(Debug)]
pub(super) struct Naming(pub(super) Arc<WebPkiServerVerifier>);

/// A certificate whose issuer is not trusted.
#[derive(Debug)]
pub(super) struct Untrusted {
    /// As `CN=..., O=...`; none if it cannot be read.
    pub(super) issuer: Option<String>,
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the issuer is not trusted")
    }
}

impl std::error::Error for Untrusted {}

impl ServerCertVerifier for Naming {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                // The last one of the chain is the one whose issuer is missing.
                let last = intermediates.last().unwrap_or(end_entity);
                let untrusted = Untrusted { issuer: issuer(last) };
                Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(untrusted)))))
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The client's proof, if there is one, and whether it was asked for.
pub(super) struct Proof {
    pub(super) key: Option<Arc<CertifiedKey>>,
    pub(super) asked: Arc<AtomicBool>,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof").finish_non_exhaustive()
    }
}

impl ResolvesClientCert for Proof {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}

/// The issuer's name in a certificate, for people. The bytes come from a stranger.
fn issuer(certificate: &[u8]) -> Option<String> {
    let mut parts = Der(Der(Der(certificate).take(SEQUENCE)?).take(SEQUENCE)?);
    // The version may be left out; the serial number and the algorithm are not of interest.
    let (tag, _) = parts.next()?;
    if tag == VERSION {
        parts.next()?;
    }
    parts.next()?;
    let mut names = Der(parts.take(SEQUENCE)?);
    let mut shown = Vec::new();
    while let Some(set) = names.take(SET) {
        let mut pair = Der(Der(set).take(SEQUENCE)?);
        let label = match pair.take(IDENTIFIER)? {
            [0x55, 4, 3] => "CN",
            [0x55, 4, 6] => "C",
            [0x55, 4, 10] => "O",
            [0x55, 4, 11] => "OU",
            _ => continue,
        };
        let text: String = String::from_utf8_lossy(pair.next()?.1)
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .take(100)
            .collect();
        shown.push(format!("{label}={text}"));
        if shown.len() == 4 {
            break;
        }
    }
    (!shown.is_empty()).then(|| shown.join(", "))
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const IDENTIFIER: u8 = 0x06;
const VERSION: u8 = 0xa0;

/// What is left of a row of DER values.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value: its tag and its content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next value, if it is of this kind.
    fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_shown_as_people_write_it() {
        let authority = crate::network::tls::tests::Authority::new("Plant CA");
        assert_eq!(issuer(authority.certificate.der()).as_deref(), Some("CN=Plant CA"));
    }

    #[test]
    fn bytes_that_are_no_certificate_have_no_issuer() {
        let authority = crate::network::tls::tests::Authority::new("Plant CA");
        let whole = authority.certificate.der();
        for end in 0..whole.len() {
            issuer(&whole[..end]);
            let mut broken = whole.to_vec();
            broken[end] ^= 0xff;
            issuer(&broken);
        }
        assert_eq!(issuer(b""), None);
        assert_eq!(issuer(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
