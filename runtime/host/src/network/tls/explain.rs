//! Why there is no encrypted connection, in words that say what to do.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ferrule_model::Code;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

use super::attachment::Attachment;
use super::verifier::Untrusted;
use crate::network::gate::Destination;

/// What the explanations of one connection name.
pub(crate) struct Talk {
    /// The host and port, as documents write them.
    shown: String,
    /// How a Grant would name them.
    to: String,
    /// The class that a Grant would be for.
    class: String,
    /// Whether the server asked for a client certificate.
    asked: Arc<AtomicBool>,
    own_roots: bool,
    certificate: bool,
}

const CODE: Code = Code::TlsFailed;

impl Talk {
    pub(super) fn new(
        destination: &Destination,
        class: &str,
        asked: Arc<AtomicBool>,
        attachment: Option<&Attachment>,
    ) -> Self {
        Self {
            shown: destination.to_string(),
            to: format!("{{{}: \"{destination}\"}}", destination.kind()),
            class: if class.is_empty() { "the-class".to_owned() } else { class.to_owned() },
            asked,
            own_roots: attachment.is_some_and(|attachment| attachment.roots().is_some()),
            certificate: attachment.is_some_and(|attachment| attachment.key().is_some()),
        }
    }

    /// Why the handshake failed.
    pub(super) fn handshake(&self, error: &io::Error) -> String {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => self.words(error),
            None if error.kind() == io::ErrorKind::UnexpectedEof || error.kind() == io::ErrorKind::ConnectionReset => {
                format!(
                    "{} ended the connection during the TLS handshake [{CODE}]; it may speak no TLS on this port, or {}",
                    self.shown,
                    self.certificate_hint()
                )
            }
            None => format!("the TLS handshake with {} failed: {error} [{CODE}]", self.shown),
        }
    }

    /// The other side said nothing.
    pub(super) fn silence(&self, within: Duration) -> String {
        format!(
            "{} did not answer the TLS handshake within {} s [{CODE}]; it may speak no TLS on this port",
            self.shown,
            within.as_secs()
        )
    }

    /// What broke an open connection.
    pub(crate) fn broken(&self, error: &Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, self.words(error))
    }

    /// It ended without a goodbye, so that something may be missing.
    pub(super) fn cut_off(&self) -> io::Error {
        let text = format!("{} cut the encrypted connection off", self.shown);
        io::Error::new(io::ErrorKind::UnexpectedEof, text)
    }

    fn words(&self, error: &Error) -> String {
        let shown = &self.shown;
        match error {
            Error::InvalidCertificate(problem) => self.certificate(problem),
            Error::AlertReceived(alert) => self.alert(*alert),
            Error::InvalidMessage(_) => format!(
                "what answers at {shown} does not speak TLS [{CODE}]; use the port on which it does, or connect without TLS"
            ),
            Error::PeerIncompatible(why) => format!(
                "{shown} and Ferrule have no version of TLS or cipher in common: {why:?} [{CODE}]; it must speak TLS 1.2 or 1.3"
            ),
            Error::NoApplicationProtocol => {
                format!("{shown} speaks none of the protocols that were offered (ALPN) [{CODE}]")
            }
            other => format!("the TLS connection to {shown} failed: {other} [{CODE}]"),
        }
    }

    fn certificate(&self, problem: &CertificateError) -> String {
        let shown = &self.shown;
        match problem {
            CertificateError::Other(other) if other.0.downcast_ref::<Untrusted>().is_some() => {
                let issuer = other.0.downcast_ref::<Untrusted>().and_then(|untrusted| untrusted.issuer.as_deref());
                let issuer = issuer.unwrap_or("an authority without a name");
                let (whom, change) = match self.own_roots {
                    true => ("is none of the `roots` attached for it", "correct them"),
                    false => ("this machine does not trust", "attach that authority's certificate"),
                };
                format!(
                    "the certificate of {shown} is not trusted: it is issued by `{issuer}`, which {whom} [{CODE}]. If it is the \
                     right server, {change}: {}",
                    self.entry("roots: \"-----BEGIN CERTIFICATE----- ...\"")
                )
            }
            CertificateError::ExpiredContext { not_after, .. } => format!(
                "the certificate of {shown} expired at {} [{CODE}]; the server needs a new one (or this machine's clock is wrong)",
                time(*not_after)
            ),
            CertificateError::NotValidYetContext { not_before, .. } => format!(
                "the certificate of {shown} is valid from {} only [{CODE}]; is this machine's clock right?",
                time(*not_before)
            ),
            CertificateError::NotValidForNameContext { expected, presented } => {
                let names: Vec<String> = presented.iter().take(5).map(|name| printable(name)).collect();
                let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
                format!(
                    "the certificate of {shown} is not for `{}`, but for {names} [{CODE}]; connect by a name that it has, or say which \
                     it is to have: {}",
                    expected.to_str(),
                    self.entry("serverName: ...")
                )
            }
            other => format!("the certificate of {shown} is not valid: {other} [{CODE}]"),
        }
    }

    fn alert(&self, alert: AlertDescription) -> String {
        use AlertDescription as Alert;
        let shown = &self.shown;
        let about_certificate = matches!(
            alert,
            Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::CertificateExpired
                | Alert::CertificateRevoked
                | Alert::CertificateUnknown
                | Alert::UnsupportedCertificate
                | Alert::UnknownCA
                | Alert::AccessDenied
        );
        let asked = self.asked.load(Ordering::Relaxed);
        if self.certificate && (about_certificate || asked) {
            return format!(
                "{shown} does not accept the client certificate that is attached for it: it answered {alert:?} [{CODE}]; attach one \
                 that it trusts and that has not expired"
            );
        }
        if about_certificate || (asked && alert == Alert::HandshakeFailure) {
            return format!("{shown} requires a client certificate [{CODE}]; {}", self.certificate_hint());
        }
        match alert {
            Alert::ProtocolVersion => format!("{shown} speaks neither TLS 1.2 nor 1.3 [{CODE}]"),
            Alert::UnrecognisedName => format!("{shown} does not know the name that was asked for [{CODE}]"),
            Alert::NoApplicationProtocol => {
                format!("{shown} speaks none of the protocols that were offered (ALPN) [{CODE}]")
            }
            other => format!("{shown} ended the TLS connection: {other:?} [{CODE}]"),
        }
    }

    fn certificate_hint(&self) -> String {
        format!(
            "if it wants a client certificate, attach one: {}",
            self.entry("certificate: {secret: ..., key: ...}, key: {secret: ..., key: ...}")
        )
    }

    /// The Grant with such an attachment.
    fn entry(&self, what: &str) -> String {
        format!("a Grant with spec: {{class: {}, attach: [{{to: {}, {what}}}]}}", self.class, self.to)
    }
}

impl fmt::Debug for Talk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Talk").field("to", &self.to).finish_non_exhaustive()
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(100).collect()
}

fn time(at: UnixTime) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("second {seconds}"), |at| at.to_string())
}
