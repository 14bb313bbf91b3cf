//! `ferrule serve`: a server until it is asked to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ferrule_model::Code;
use ferrule_model::quantity::Size;
use ferrule_server::telemetry::{self, LogOptions};
use ferrule_server::{DEAD_LETTERS, METRICS_ADDRESS, Options, STOP_DEADLINE, Server, Transport};

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};

/// Starts a server, which keeps what was applied and runs it. Ctrl-C or SIGTERM stops it in an orderly way.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The folder for everything that the server keeps [default: FERRULE_DATA, or ferrule in the user's data folder].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The Unix socket for the command line [default: ferrule.sock in the data folder].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Also serve gRPC on this TCP address. There is no authentication: use the loopback, or guard it.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where /metrics and /healthz are served.
    #[arg(long, value_name = "ADDRESS", default_value_t = METRICS_ADDRESS, conflicts_with = "no_metrics")]
    metrics: SocketAddr,
    /// Serve no metrics.
    #[arg(long)]
    no_metrics: bool,
    /// Components to register at the start: files, or folders of them. Those that came with ferrule are always there.
    #[arg(long, value_name = "PATH")]
    components: Vec<PathBuf>,
    /// Where records are on their way: embedded (on this machine's disk, in the data folder) or memory.
    #[arg(long, value_name = "TRANSPORT", default_value = "embedded")]
    transport: Transport,
    /// Seconds that a stop may wait for what is in flight.
    #[arg(long, value_name = "SECONDS", default_value_t = STOP_DEADLINE.as_secs())]
    stop_deadline: u64,
    /// How much room dead letters may take, such as 512MiB; when it is full, pipelines wait.
    #[arg(long, value_name = "SIZE", default_value_t = Size(DEAD_LETTERS))]
    dead_letters: Size,
    /// What to log, such as debug, or ferrule_flow=debug,info.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Log as JSON, one object a line.
    #[arg(long)]
    log_json: bool,
}

impl Serve {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let data_folder = context.data_folder(self.data.as_deref())?;
        let filter = if context.output.quiet { Some("warn".to_owned()) } else { None };
        start_log(self.log.or(filter), self.log_json, context)?;
        let mut options = Options::new(data_folder);
        if let Some(socket) = self.socket {
            options.socket = Some(socket);
        }
        options.listen = self.listen;
        options.metrics = (!self.no_metrics).then_some(self.metrics);
        options.shipped = context.surroundings.shipped_guests();
        options.shipped.extend(self.components);
        options.transport = self.transport;
        options.stop_deadline = Duration::from_secs(self.stop_deadline);
        options.dead_letters = self.dead_letters.0;
        let socket = options.socket.clone();
        let server = Server::start(options).await.map_err(not_started)?;
        if let Some(socket) = socket {
            context.output.say(format!("ready; the socket is {}", socket.display()));
        }
        server.run().await?;
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
