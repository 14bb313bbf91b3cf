//! Peers: programs built from pinned Go modules, started for one turn and asked what has arrived at their far end.

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::clock;
use crate::measure::{Arm, Sample};
use crate::run::target;

/// How long records flow before a turn is measured: a collector needs longer than we do to be what it will be.
const WARM_UP: Duration = Duration::from_millis(500);

/// How long a turn lasts.
const TURN: Duration = Duration::from_millis(1_000);

/// How long a peer may take to begin.
const PATIENCE: Duration = Duration::from_secs(30);

/// Builds the Go program in `tests/bench/peers/FOLDER`, and `package` of its modules where one is named. Nothing, with one line
/// that says so, where there is no Go.
pub(crate) fn build(folder: &str, name: &str, package: &str) -> Result<Option<PathBuf>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(folder);
    let program = target().join("bench/peers").join(name);
    if Command::new("go").arg("version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: the peer {name} needs Go");
        return Ok(None);
    }
    std::fs::create_dir_all(target().join("bench/peers"))?;
    eprintln!("building the peer {name}");
    let status = Command::new("go")
        .args(["build", "-mod=readonly", "-o"])
        .arg(&program)
        .arg(package)
        .current_dir(&source)
        .status()
        .context("could not start go")?;
    ensure!(status.success(), "the peer {name} did not build from {}", source.display());
    Ok(Some(program))
}

/// A stream of the benthos engine.
#[derive(Clone)]
pub(crate) struct Benthos {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    /// The collector's target, where it is not left at its default.
    pub(crate) gogc: Option<u32>,
    pub(crate) batch: u32,
    pub(crate) size: usize,
    pub(crate) json: bool,
    /// What every record holds at the end.
    pub(crate) expect: String,
    /// Bloblang mappings, one for each step.
    pub(crate) steps: Vec<String>,
}

#[async_trait]
impl Arm for Benthos {
    fn name(&self) -> &str {
        &self.name
    }

    async fn turn(&mut self) -> Result<Sample> {
        let mut running = RunningPeer::start(self)?;
        let limit = Instant::now() + PATIENCE;
        while running.arrived()? == 0 {
            if Instant::now() > limit {
                bail!("the peer moves nothing");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(WARM_UP).await;
        let (start, cpu, before) = (Instant::now(), clock::of(running.child.id())?, running.arrived()?);
        tokio::time::sleep(TURN).await;
        let (records, cpu, wall) = (running.arrived()? - before, clock::of(running.child.id())? - cpu, start.elapsed());
        Ok(Sample { records, wall, cpu })
    }
}

struct RunningPeer {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl RunningPeer {
    fn start(peer: &Benthos) -> Result<RunningPeer> {
        let order = json!({
            "batch": peer.batch, "size": peer.size, "json": peer.json, "expect": peer.expect, "steps": peer.steps,
        });
        let mut command = Command::new(&peer.program);
        command.arg(order.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        match peer.gogc {
            Some(target) => command.env("GOGC", target.to_string()),
            None => command.env_remove("GOGC"),
        };
        let mut child = command.spawn().with_context(|| format!("could not start {}", peer.program.display()))?;
        let questions = child.stdin.take().context("the peer has no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("the peer has no standard output")?);
        Ok(RunningPeer { child, questions, answers })
    }

    /// What the peer's sink has.
    fn arrived(&mut self) -> Result<u64> {
        self.questions.write_all(b"\n").context("the peer ended")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let answer: Value = serde_json::from_str(&line).with_context(|| format!("the peer answered {line:?}"))?;
        ensure!(answer["wrong"] == 0, "records of the peer are not what they should be: {answer}");
        answer["records"].as_u64().context("the peer counts no records")
    }
}

impl Drop for RunningPeer {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}
