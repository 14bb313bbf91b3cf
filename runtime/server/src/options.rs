//! How a server is set up. Nothing here is read from the environment: whoever starts a server decides.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferrule_transport::nats::{self, NatsOptions};

/// Where `/metrics` and `/healthz` are served unless told otherwise.
pub const METRICS_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);

/// How long a stop waits for what is in flight.
pub const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// How many bytes of dead letters are kept before pipelines are held back, unless told otherwise.
pub const DEAD_LETTERS: u64 = 1 << 30;

/// How large a file of the log on disk gets before the next one is begun, unless told otherwise.
pub const LOG_SEGMENT: u64 = 64 << 20;

/// Where records are between the sources that took them in and the pipelines that deliver them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Transport {
    /// In memory, for as long as the process lives: a source is settled when its records are delivered.
    Memory,
    /// On this machine's disk, in the data folder: a source is settled when its records are there.
    #[default]
    Embedded,
    /// At NATS JetStream: a source is settled when its records are there. The server names itself; NATS need not be reachable yet.
    Nats(Box<NatsOptions>),
}

impl std::str::FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "memory" => Ok(Self::Memory),
            "embedded" => Ok(Self::Embedded),
            _ if nats::is_address(text) => NatsOptions::parse(text, "")
                .map(Box::new)
                .map(Self::Nats)
                .map_err(|error| format!("transport: {error}")),
            _ => {
                // What stands before an @ may be a password.
                let shown = text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, rest)| format!("...@{rest}"));
                Err(format!(
                    "`{shown}` is no transport; there are `embedded` (on this machine's disk), `memory` and nats://HOST:PORT (NATS JetStream)"
                ))
            }
        }
    }
}

/// How gRPC is served over TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: SocketAddr,
    /// With TLS, for those who are known; none: everybody who can connect may do everything, so on this machine only.
    pub guard: Option<Guarded>,
    /// Even where others can connect: without a guard.
    pub open: bool,
}

/// The files of a guarded listener. They are read at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarded {
    /// The server's certificate with its chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The authorities of client certificates, PEM; none: clients have tokens only.
    pub client_authorities: Option<PathBuf>,
    /// Who may do what: lines of a role, `token` or `cert`, and the token or the certificate's SHA-256 fingerprint.
    pub access: PathBuf,
}

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Everything the server keeps is in this folder. It is made if it is not there.
    pub data_folder: PathBuf,
    /// The Unix socket that the command line talks to; none: it is reached in this process only.
    pub socket: Option<PathBuf>,
    /// Also serve gRPC over TCP.
    pub listen: Option<Listen>,
    /// Where `/metrics` and `/healthz` are served; none: not at all. Port 0: a free one, see [`crate::Server::metrics_address`].
    pub metrics: Option<SocketAddr>,
    /// Components that come with the product: `.wasm` files, or folders of them. They are registered at the start.
    pub shipped: Vec<PathBuf>,
    /// Where compiled forms of components are kept; none: in the data folder. It is made if it is not there, and used only while it
    /// belongs to this process' user alone.
    pub compiled: Option<PathBuf>,
    /// How long [`crate::Server::stop`] waits for what is in flight.
    pub stop_deadline: Duration,
    /// How many bytes of dead letters are kept; each counts as 1 KiB at least. At the bound, pipelines wait.
    pub dead_letters: u64,
    /// Where records are on their way.
    pub transport: Transport,
    /// How large a file of the embedded log gets before the next one is begun. A file goes when nothing in it is needed any more, and
    /// what little is still needed of an old one is moved: small files free the disk sooner and cost more moving.
    pub log_segment: u64,
    /// The file with the key that secrets are sealed with; none: `secret.key` in the data folder, which is made at the first start.
    pub secret_key: Option<PathBuf>,
    /// How the WebAssembly engine is set up.
    pub engine: ferrule_host::EngineOptions,
    /// What no guest may reach, whatever documents grant.
    pub deny: Vec<ferrule_model::capability::Allowance>,
    /// Grant whatever is asked for, so that [`ferrule_api::Platform::audit`] shows what is really used. For a developer's machine.
    pub learn: bool,
}

impl Options {
    /// A server as `ferrule serve` starts it: socket `ferrule.sock` in the data folder, metrics on [`METRICS_ADDRESS`].
    pub fn new(data_folder: impl Into<PathBuf>) -> Self {
        let data_folder = data_folder.into();
        Self {
            socket: Some(socket_in(&data_folder)),
            listen: None,
            metrics: Some(METRICS_ADDRESS),
            shipped: Vec::new(),
            compiled: None,
            stop_deadline: STOP_DEADLINE,
            dead_letters: DEAD_LETTERS,
            transport: Transport::default(),
            log_segment: LOG_SEGMENT,
            secret_key: None,
            engine: ferrule_host::EngineOptions::default(),
            deny: Vec::new(),
            learn: false,
            data_folder,
        }
    }

    /// A server within another program, as `ferrule run` and tests use it: reached in this process only, no metrics, records in
    /// memory.
    pub fn embedded(data_folder: impl Into<PathBuf>) -> Self {
        Self { socket: None, metrics: None, transport: Transport::Memory, ..Self::new(data_folder) }
    }
}

/// The socket of the server that keeps its data in `folder`, unless it was told otherwise.
#[must_use]
pub fn socket_in(folder: &Path) -> PathBuf {
    folder.join("ferrule.sock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_is_a_word_or_an_address_and_no_message_has_its_password() {
        assert_eq!("memory".parse(), Ok(Transport::Memory));
        assert_eq!("embedded".parse(), Ok(Transport::Embedded));
        let nats: Transport = "nats://me:secret@localhost".parse().unwrap();
        assert!(matches!(&nats, Transport::Nats(options) if options.servers == ["nats://localhost:4222"]));
        assert!(!format!("{nats:?}").contains("secret"));
        for text in ["natz://me:secret@localhost", "nats://me:secret@localhost:x", "disk"] {
            let error = text.parse::<Transport>().unwrap_err();
            assert!(error.contains("nats://") && !error.contains("secret"), "{error}");
        }
    }
}
