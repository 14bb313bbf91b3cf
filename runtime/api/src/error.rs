//! Why the platform did not do what was asked, and how that travels.

use ferrule_model::error::{Code, Diagnostic};
use prost::Message;
use tonic::Status;

use crate::address::Address;
use crate::{proto, wire};

/// The largest status, in bytes, that a client takes. A status travels in a header block, and the usual bound of 16 KiB
/// would cut the list of problems of one larger file.
pub(crate) const LARGEST_STATUS: u32 = 1024 * 1024;

/// The largest list of problems that is sent: base64 makes it a third longer, and it must stay under [`LARGEST_STATUS`].
const LARGEST_DETAILS: usize = 512 * 1024;

/// Why the platform did not do what was asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request, or the documents in it, cannot be honoured: every problem that was found. Never empty.
    #[error("{}", summary(.0))]
    Refused(Vec<Diagnostic>),
    /// Nobody answers at the address.
    #[error("no server answers at {address} ({reason})")]
    NoServer {
        /// Where one was expected.
        address: Address,
        /// What the system says.
        reason: String,
    },
    /// The server went away, or is shutting down, during the call. What it did is unknown.
    #[error("the server went away during the call: {0}")]
    Gone(String),
    /// The other end does not keep the protocol, or speaks another version of it.
    #[error("the answer cannot be understood: {0}")]
    Protocol(String),
    /// The platform failed; its log says more.
    #[error("the server failed: {0}")]
    Internal(String),
}

impl Error {
    /// One problem.
    #[must_use]
    pub fn refused(diagnostic: Diagnostic) -> Self {
        Error::Refused(vec![diagnostic])
    }

    /// The problems, if that is what it is.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Error::Refused(all) => all,
            _ => &[],
        }
    }

    /// As a gRPC status with all diagnostics in its details.
    pub(crate) fn into_status(self) -> Status {
        let message = self.to_string();
        match self {
            Error::Refused(all) => {
                let code = all.first().map_or(tonic::Code::InvalidArgument, |d| status_code(d.code));
                Status::with_details(code, message, details(&all).into())
            }
            Error::NoServer { .. } | Error::Gone(_) => Status::unavailable(message),
            Error::Protocol(message) => Status::invalid_argument(message),
            Error::Internal(message) => Status::internal(message),
        }
    }

    /// From what a server at `address` answered.
    pub(crate) fn from_status(status: &Status, address: &Address) -> Self {
        if !status.details().is_empty()
            && let Ok(list) = proto::Diagnostics::decode(status.details())
            && let Ok(all) = wire::diagnostics_in(list.diagnostics)
            && !all.is_empty()
        {
            return Error::Refused(all);
        }
        let message = status.message().to_owned();
        match status.code() {
            tonic::Code::Unavailable => Error::Gone(gone(format!("{message} ({address})"), address)),
            tonic::Code::Unimplemented => {
                let text = format!("the server at {address} does not know this call");
                let help = "it is of another version than this `ferrule`: use the same for both";
                Error::refused(Diagnostic::new(Code::VersionMismatch, text).help(help))
            }
            tonic::Code::InvalidArgument | tonic::Code::OutOfRange => Error::Protocol(message),
            // A transport that breaks in the middle of an answer shows as unknown.
            tonic::Code::Unknown | tonic::Code::Cancelled => Error::Gone(gone(message, address)),
            // What answers speaks no HTTP/2, as a server with TLS does to who speaks none.
            tonic::Code::Internal if message.starts_with("h2 protocol error") => Error::Gone(gone(message, address)),
            _ => Error::Internal(message),
        }
    }
}

fn gone(message: String, address: &Address) -> String {
    match address {
        Address::Tcp(_) => format!("{message} ({address}; a server with TLS is reached by https://)"),
        _ => message,
    }
}

fn summary(all: &[Diagnostic]) -> String {
    match all {
        [] => "refused".to_owned(),
        [one] => one.message.clone(),
        [first, rest @ ..] => format!("{} (and {} more)", first.message, rest.len()),
    }
}

/// As many diagnostics as fit.
fn details(all: &[Diagnostic]) -> Vec<u8> {
    let mut list = proto::Diagnostics::default();
    let mut size = 0;
    for diagnostic in all {
        let diagnostic = proto::Diagnostic::from(diagnostic);
        size += diagnostic.encoded_len() + 8;
        if size > LARGEST_DETAILS && !list.diagnostics.is_empty() {
            break;
        }
        list.diagnostics.push(diagnostic);
    }
    list.encode_to_vec()
}

/// The gRPC status code for a stable code, in one table. What is wrong with a document is an invalid argument; what is wrong
/// with the state of the platform has a code of its own.
fn status_code(code: Code) -> tonic::Code {
    use tonic::Code as Status;
    match code {
        Code::NotFound => Status::NotFound,
        Code::AlreadyExists | Code::VersionTaken => Status::AlreadyExists,
        Code::Conflict | Code::LetterBusy => Status::Aborted,
        Code::InUse
        | Code::Immutable
        | Code::Unresolved
        | Code::ComponentMissing
        | Code::ComponentBroken
        | Code::NotRepeatable
        | Code::NotRunning => Status::FailedPrecondition,
        Code::NetDenied
        | Code::FileDenied
        | Code::LoopbackDenied
        | Code::ListenDenied
        | Code::AddressDenied
        | Code::AccessDenied => Status::PermissionDenied,
        Code::ComponentTooLarge
        | Code::DocumentTooLarge
        | Code::TooComplex
        | Code::LimitReached
        | Code::LettersFull => Status::ResourceExhausted,
        Code::DrainTimedOut | Code::TimedOut | Code::NotReady => Status::DeadlineExceeded,
        Code::Unsupported => Status::Unimplemented,
        Code::NoServer | Code::GuestUnavailable => Status::Unavailable,
        Code::StoreUnusable | Code::DataFolder | Code::Internal => Status::Internal,
        _ => Status::InvalidArgument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_speaks_no_tls_to_one_who_does_is_told() {
        let plain = Address::Tcp("127.0.0.1:7443".into());
        for status in [
            Status::internal("h2 protocol error: http2 error"),
            Status::unknown("transport error"),
            Status::cancelled("operation was canceled"),
            Status::unavailable("broken pipe"),
        ] {
            let error = Error::from_status(&status, &plain);
            assert!(matches!(&error, Error::Gone(text) if text.contains("https://")), "{error:?}");
        }
        assert!(matches!(Error::from_status(&Status::internal("a task ended"), &plain), Error::Internal(_)));
    }

    #[test]
    fn every_diagnostic_arrives_as_it_was_sent() {
        let all: Vec<Diagnostic> = Code::ALL
            .iter()
            .map(|code| {
                let mut diagnostic = Diagnostic::new(*code, code.title())
                    .in_document("a.yaml#2")
                    .at("spec.functions[0].args")
                    .expected("a number")
                    .found("`x`")
                    .help("write a number");
                diagnostic.position = Some((3, 7));
                diagnostic
            })
            .chain([Diagnostic::new(Code::NotFound, "bare").as_warning()])
            .collect();
        let status = Error::Refused(all.clone()).into_status();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        let back = Error::from_status(&status, &Address::Unix("/s".into()));
        assert_eq!(back, Error::Refused(all));
    }

    #[test]
    fn a_server_that_does_not_know_a_call_is_of_another_version() {
        let status = tonic::Status::unimplemented("Operation is not implemented or not supported");
        let Error::Refused(all) = Error::from_status(&status, &Address::Unix("/s".into())) else {
            panic!("no refusal")
        };
        assert_eq!(all[0].code, Code::VersionMismatch);
        assert!(all[0].message.contains("/s"), "{}", all[0]);
    }

    #[test]
    fn a_list_too_long_to_send_is_cut_and_never_empty() {
        let long = Diagnostic::new(Code::BadValue, "x".repeat(LARGEST_DETAILS));
        let status = Error::Refused(vec![long.clone(), long.clone()]).into_status();
        assert_eq!(Error::from_status(&status, &Address::Unix("/s".into())), Error::Refused(vec![long]));
    }
}
