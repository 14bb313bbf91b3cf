//! Why a server does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use ferrule_host::HostError;
use ferrule_model::Code;
use ferrule_store::StoreError;

/// Why a server does not start. The text says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A folder or file of the data folder cannot be made or read.
    #[error("{what} {} is not usable: {source}", path.display())]
    Folder {
        /// What it is.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The data folder was written by a newer release.
    #[error(
        "the data folder {} was written by a newer release (format {found}; this one knows up to {known}); use that release, or another folder",
        path.display()
    )]
    NewerFolder {
        /// The data folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that this release knows.
        known: u32,
    },
    /// The store does not open. It is locked while another server uses the data folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log of records does not open.
    #[error(transparent)]
    Log(#[from] ferrule_transport::OpenError),
    /// A part of the start was cut off.
    #[error("the start was cut off: {0}")]
    Task(String),
    /// The engine does not start.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {address} for {purpose}: {source}; {help}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What for.
        purpose: &'static str,
        /// What the system says.
        source: io::Error,
        /// What to do about it.
        help: &'static str,
    },
    /// Anybody on the network could control the server.
    #[error(
        "anybody who can reach {address} could control this server; guard it with --tls-cert, --tls-key and --access, listen on \
         127.0.0.1, or, if that is what you want, add --let-anyone-on-the-network-control-this-server"
    )]
    OpenToAll {
        /// The address.
        address: SocketAddr,
    },
    /// A file of the guarded listener is not usable.
    #[error("{}: {detail}", path.display())]
    Guard {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        detail: String,
    },
    /// Certificate and key make no TLS.
    #[error("--tls-cert and --tls-key cannot be used: {0}")]
    Tls(String),
    /// The socket cannot be made.
    #[error("cannot listen on the socket {}: {source}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The path does not fit in a socket's address.
    #[error(
        "the socket's path {} is too long ({} bytes; the system takes {limit}); name a shorter one with --socket",
        path.display(),
        path.as_os_str().len()
    )]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// How many bytes it may have.
        limit: usize,
    },
}

impl StartError {
    /// The page that explains it.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Folder { .. } | Self::NewerFolder { .. } | Self::Log(_) => Code::DataFolder,
            Self::Store(StoreError::Locked { .. }) => Code::ServerRunning,
            Self::Store(_) => Code::StoreUnusable,
            Self::Task(_) | Self::Host(_) => Code::Internal,
            Self::Listen { .. } | Self::Socket { .. } => Code::AddressInUse,
            Self::SocketPath { .. } | Self::OpenToAll { .. } | Self::Tls(_) | Self::Guard { .. } => Code::Usage,
        }
    }
}
