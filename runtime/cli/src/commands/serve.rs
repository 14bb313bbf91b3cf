//! `ferrule serve`: a server until it is asked to stop.

mod config;

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use ferrule_model::Code;
use ferrule_model::capability::{Allowance, TargetError};
use ferrule_model::quantity::Size;
use ferrule_server::shutdown::Signals;
use ferrule_server::telemetry::{self, LogOptions};
use ferrule_server::{DEAD_LETTERS, Guarded, LOG_SEGMENT, Listen, METRICS_ADDRESS, Options, STOP_DEADLINE, Server};

use crate::context::{Context, Surroundings};
use crate::exit::{Exit, Failure, Outcome};

/// Starts a server, which keeps what was applied and runs it. Ctrl-C or SIGTERM stops it in an orderly way.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// A YAML file with these options by their names; what is given on the command line wins.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// What a server is told, on the command line or in a file.
#[derive(Debug, Default, Args)]
struct Settings {
    /// The folder for everything that the server keeps [default: FERRULE_DATA, or ferrule in the user's data folder].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The Unix socket for the command line [default: ferrule.sock in the data folder].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Also serve gRPC on this TCP address: with TLS and --access, or, for this machine alone, without.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// The server's certificate with its chain, PEM, for --listen.
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert, PEM.
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// The authorities of client certificates, PEM. Without it clients have tokens.
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
    /// Who may do what over --listen: lines such as `write token TOKEN`, `read token TOKEN` or `read cert FINGERPRINT`.
    #[arg(long, value_name = "FILE")]
    access: Option<PathBuf>,
    /// Serve --listen without TLS and without asking who calls, although others than this machine can reach it.
    #[arg(long)]
    let_anyone_on_the_network_control_this_server: bool,
    /// Where /metrics and /healthz are served [default: 127.0.0.1:9464].
    #[arg(long, value_name = "ADDRESS", conflicts_with = "no_metrics")]
    metrics: Option<SocketAddr>,
    /// Serve no metrics.
    #[arg(long)]
    no_metrics: bool,
    /// Components to register at the start: files, or folders of them. Those that came with ferrule are always there.
    #[arg(long, value_name = "PATH")]
    components: Vec<PathBuf>,
    /// What no guest may reach, whatever documents grant, such as tcp=*:25 or tcp=10.20.0.0/16:*. May be given several times.
    #[arg(long, value_name = "KIND=TARGET", value_parser = denial)]
    deny: Vec<Allowance>,
    /// Where records are on their way: embedded (on this machine's disk, in the data folder), memory, or NATS JetStream as
    /// nats://HOST:PORT or nats://USER:PASSWORD@HOST:PORT [default: embedded].
    #[arg(long, value_name = "TRANSPORT")]
    transport: Option<Place>,
    /// Seconds that a stop may wait for what is in flight [default: 10].
    #[arg(long, value_name = "SECONDS")]
    stop_deadline: Option<u64>,
    /// How much room dead letters may take, such as 512MiB; when it is full, pipelines wait [default: 1GiB].
    #[arg(long, value_name = "SIZE")]
    dead_letters: Option<Size>,
    /// How large a file of the log on disk gets before the next one is begun: small ones free the disk sooner, large ones cost
    /// less [default: 64MiB].
    #[arg(long, value_name = "SIZE")]
    log_segment: Option<Size>,
    /// The file with the key that secrets are sealed with: 64 hexadecimal digits, readable by its owner alone [default: secret.key
    /// in the data folder, made at the first start].
    #[arg(long, value_name = "FILE")]
    secret_key: Option<PathBuf>,
    /// How many WebAssembly guests may live at once: each open stream is one, and each lane of a function [default: 4000].
    #[arg(long, value_name = "COUNT")]
    instances: Option<NonZeroU32>,
    /// What to log, such as debug, or ferrule_flow=debug,info.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Log as JSON, one object a line.
    #[arg(long)]
    log_json: bool,
}

/// Reads `KIND=TARGET`.
fn denial(text: &str) -> Result<Allowance, String> {
    let entry: Allowance = text.parse().map_err(|error: TargetError| error.to_string())?;
    entry.check_denial().map_err(|error| error.to_string())?;
    Ok(entry)
}

/// A transport as it was written: read later, because messages about arguments repeat them, and an address may hold a password.
#[derive(Clone, PartialEq, Eq)]
struct Place(String);

impl FromStr for Place {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

impl Settings {
    /// These, and of `below` what is not said here.
    fn over(self, below: Self) -> Self {
        let metrics = self.metrics.is_some() || self.no_metrics;
        Self {
            data: self.data.or(below.data),
            socket: self.socket.or(below.socket),
            listen: self.listen.or(below.listen),
            tls_cert: self.tls_cert.or(below.tls_cert),
            tls_key: self.tls_key.or(below.tls_key),
            tls_client_ca: self.tls_client_ca.or(below.tls_client_ca),
            access: self.access.or(below.access),
            let_anyone_on_the_network_control_this_server: self.let_anyone_on_the_network_control_this_server
                || below.let_anyone_on_the_network_control_this_server,
            metrics: if metrics { self.metrics } else { below.metrics },
            no_metrics: if metrics { self.no_metrics } else { below.no_metrics },
            components: if self.components.is_empty() { below.components } else { self.components },
            // Neither takes back what the other denies.
            deny: below.deny.into_iter().chain(self.deny).collect(),
            transport: self.transport.or(below.transport),
            stop_deadline: self.stop_deadline.or(below.stop_deadline),
            dead_letters: self.dead_letters.or(below.dead_letters),
            log_segment: self.log_segment.or(below.log_segment),
            secret_key: self.secret_key.or(below.secret_key),
            instances: self.instances.or(below.instances),
            log: self.log.or(below.log),
            log_json: self.log_json || below.log_json,
        }
    }
}

impl Settings {
    /// How to serve over TCP; what belongs together must be given together.
    fn doors(&self) -> Result<Option<Listen>, Failure> {
        let (certificate, key, access) = (self.tls_cert.clone(), self.tls_key.clone(), self.access.clone());
        let open = self.let_anyone_on_the_network_control_this_server;
        let anything = certificate.is_some() || key.is_some() || access.is_some() || self.tls_client_ca.is_some();
        let guard = match (certificate, key, access) {
            (Some(certificate), Some(key), Some(access)) => {
                Some(Guarded { certificate, key, client_authorities: self.tls_client_ca.clone(), access })
            }
            _ if anything => {
                return Err(Failure::usage("--tls-cert, --tls-key and --access belong together, and one is missing")
                    .with_help("--access FILE says who may come in: lines such as `write token TOKEN`"));
            }
            _ => None,
        };
        match self.listen {
            Some(address) => Ok(Some(Listen { address, guard, open })),
            None if anything || open => {
                Err(Failure::usage("there is no --listen ADDRESS, for which the other options are"))
            }
            None => Ok(None),
        }
    }
}

impl Serve {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        // First of all: a start takes seconds, and is to end as orderly as what it starts.
        let mut signals = Signals::new()?;
        let settings = match &self.config {
            Some(path) => self.settings.over(config::read(path)?),
            None => self.settings,
        };
        let data_folder = context.data_folder(settings.data.as_deref())?;
        let listen = settings.doors()?;
        let transport = settings.transport.map(|place| place.0.parse()).transpose().map_err(Failure::usage)?;
        let filter = if context.output.quiet { Some("warn".to_owned()) } else { None };
        start_log(settings.log.or(filter), settings.log_json, context)?;
        let mut options = Options::new(data_folder);
        if let Some(socket) = settings.socket {
            options.socket = Some(socket);
        }
        options.listen = listen;
        options.metrics = (!settings.no_metrics).then_some(settings.metrics.unwrap_or(METRICS_ADDRESS));
        options.shipped = context.surroundings.shipped_guests();
        options.shipped.extend(settings.components);
        options.secret_key = settings.secret_key;
        options.deny = settings.deny;
        options.engine.around.environment = Surroundings::environment();
        options.transport = transport.unwrap_or_default();
        options.stop_deadline = settings.stop_deadline.map_or(STOP_DEADLINE, Duration::from_secs);
        options.dead_letters = settings.dead_letters.map_or(DEAD_LETTERS, |size| size.0);
        options.log_segment = settings.log_segment.map_or(LOG_SEGMENT, |size| size.0);
        if let Some(instances) = settings.instances {
            options.engine.instances = instances.get();
        }
        let socket = options.socket.clone();
        let server = tokio::select! {
            started = Server::start(options) => started.map_err(not_started)?,
            signal = signals.next() => {
                context.output.say(format!("{signal}: stopped before the start was complete"));
                return Ok(());
            }
        };
        if let Some(socket) = socket {
            context.output.say(format!("ready; the socket is {}", socket.display()));
        }
        server.run(&mut signals).await;
        Ok(())
    }
}

/// Starts the log of this process.
pub(crate) fn start_log(filter: Option<String>, json: bool, context: &Context) -> Outcome {
    let options = LogOptions { filter, json, colour: Some(context.output.colors_talk()) };
    telemetry::start(&options).map_err(|error| Failure::usage(error.to_string()))
}

/// Why a server does not start, as an exit code.
pub(crate) fn not_started(error: ferrule_server::StartError) -> Failure {
    let code = error.code();
    let exit = match code {
        Code::AddressInUse | Code::ServerRunning => Exit::Conflict,
        Code::Usage => Exit::Usage,
        _ => Exit::Failed,
    };
    Failure::new(exit, format!("the server does not start: {error}")).with_code(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file = Settings {
            data: Some("file".into()),
            no_metrics: true,
            components: vec!["a".into()],
            deny: vec![denial("tcp=*:25").unwrap()],
            stop_deadline: Some(1),
            log_json: true,
            ..Settings::default()
        };
        let line = Settings {
            metrics: Some(METRICS_ADDRESS),
            components: vec!["b".into()],
            deny: vec![denial("udp=*:53").unwrap()],
            stop_deadline: Some(2),
            ..Settings::default()
        };
        let both = line.over(file);
        assert_eq!((both.data, both.metrics, both.no_metrics), (Some("file".into()), Some(METRICS_ADDRESS), false));
        assert_eq!(both.deny.iter().map(ToString::to_string).collect::<Vec<_>>(), ["tcp: *:25", "udp: *:53"]);
        assert_eq!((both.components, both.stop_deadline, both.log_json), (vec![PathBuf::from("b")], Some(2), true));
    }

    #[test]
    fn the_defaults_are_those_that_the_help_names() {
        assert_eq!(METRICS_ADDRESS.to_string(), "127.0.0.1:9464");
        assert_eq!(Options::new("").engine.instances, 4_000);
        assert_eq!((STOP_DEADLINE, Size(DEAD_LETTERS).to_string()), (Duration::from_secs(10), "1GiB".to_owned()));
    }
}
