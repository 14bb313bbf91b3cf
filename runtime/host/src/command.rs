//! Runs a WASI command: the test binary of a guest's crate. Our interfaces are linked, and nothing is allowed.

use std::sync::Arc;
use std::time::Duration;

use ferrule_model::capability::Rules;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

use crate::call::{self, Bounds, Ended, Patience};
use crate::engine::{Engine, EngineKind};
use crate::error::{CallError, LoadError};
use crate::guards::Guards;
use crate::guest::{GrantHint, Guest, Identity};
use crate::instance;
use crate::limits::Limits;
use crate::log_gate::LogGate;
use crate::network::{Attachments, Tls};
use crate::observer::Unobserved;
use crate::stdio::{Capture, Stdout};

/// Computing time of one command. Threat: a test that never ends; slow ones of unoptimised guests take seconds.
const TIME: Duration = Duration::from_secs(300);

/// Memory of one command. Test binaries are not optimised and keep their debug information.
const MEMORY: usize = 1 << 30;

/// Bytes kept of each of its outputs.
const OUTPUT: usize = 1 << 20;

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutcome {
    /// 0 when it ended well, 1 when it said otherwise (WASI 0.2 carries no other code), 134 (as of an abort) when it trapped.
    pub exit_code: i32,
    /// Why it did not end by itself, if so.
    pub trap: Option<String>,
    /// The beginning of its standard output.
    pub stdout: String,
    /// The beginning of its standard error.
    pub stderr: String,
}

/// Why a command cannot be run at all.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the command cannot be run: {0}")]
pub struct CommandError(String);

/// A compiled command; it can be run many times.
#[derive(Clone)]
pub struct Command {
    pre: CommandPre<Guest>,
    _engine: Engine,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Command").finish_non_exhaustive()
    }
}

impl Engine {
    /// Compiles a command component.
    pub async fn load_command(&self, bytes: &[u8]) -> Result<Command, CommandError> {
        let parts = self.parts(EngineKind::Roomy);
        if !bytes.starts_with(b"\0asm") {
            return Err(CommandError(
                LoadError::NotWasm { found: "it does not begin with `\\0asm`".into() }.to_string(),
            ));
        }
        let (engine, bytes) = (parts.engine.clone(), bytes.to_vec());
        let component =
            tokio::task::spawn_blocking(move || wasmtime::component::Component::from_binary(&engine, &bytes))
                .await
                .map_err(|error| CommandError(error.to_string()))?
                .map_err(|error| CommandError(format!("{error:#}")))?;
        let pre = parts
            .linker
            .instantiate_pre(&component)
            .and_then(CommandPre::new)
            .map_err(|error| CommandError(format!("{error:#}")))?;
        Ok(Command { pre, _engine: self.clone() })
    }
}

impl Command {
    /// Runs it in an instance of its own. The first argument is the program's name.
    pub async fn run(&self, arguments: &[String]) -> CommandOutcome {
        let (stdout, stderr) = (Arc::new(Capture::new(OUTPUT)), Arc::new(Capture::new(OUTPUT)));
        let ended = self.run_into(arguments, &stdout, &stderr).await;
        let (exit_code, trap) = match ended {
            Ok(code) => (code, None),
            Err(error) => (134, Some(error.to_string())),
        };
        CommandOutcome { exit_code, trap, stdout: stdout.text(), stderr: stderr.text() }
    }

    async fn run_into(
        &self,
        arguments: &[String],
        stdout: &Arc<Capture>,
        stderr: &Arc<Capture>,
    ) -> Result<i32, CallError> {
        // It has the machine to itself.
        let cpu_percent = Some(100);
        let limits = Limits { memory_bytes: MEMORY, call_time: TIME, wait: TIME, cpu_percent, ..Limits::default() };
        let mut wasi = WasiCtxBuilder::new();
        wasi.args(arguments).stdout(Stdout(stdout.clone())).stderr(Stdout(stderr.clone()));
        let identity = Identity {
            name: "test".into(),
            hint: GrantHint::default(),
            rules: Rules::default(),
            asked: Vec::new(),
            redactor: Default::default(),
            observer: Arc::new(Unobserved),
            around: Arc::default(),
            tls: Tls::default(),
            attached: Attachments::default(),
            component: String::new(),
            guards: Guards::default(),
        };
        let observer = identity.observer.clone();
        let log = Arc::new(LogGate::new(observer.clone(), &limits, identity.guards, identity.redactor.clone()));
        let guest = Guest::with_wasi(identity, &limits, wasi, log);
        let (mut store, clock) = instance::store(self.pre.engine(), guest, &limits);
        let mut bounds = Bounds::new(clock, store.data().wake.clone(), observer, &limits);
        let run = async {
            let command = self.pre.instantiate_async(&mut store).await?;
            command.wasi_cli_run().call_run(&mut store).await
        };
        match bounds.run(Patience::Prompt, run).await {
            Ok(Ok(())) => Ok(0),
            Ok(Err(())) => Ok(1),
            Err(Ended::Engine(error)) if error.is::<I32Exit>() => {
                Ok(error.downcast_ref::<I32Exit>().map_or(1, |exit| exit.0))
            }
            Err(ended) => Err(call::explain("run", ended, &bounds, store.data_mut())),
        }
    }
}
