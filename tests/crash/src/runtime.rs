//! The process under test: `ferrule serve` on one data folder, started, told things, killed and started again.

use anyhow::{Context as _, Result, bail};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a start, a command or an end may take before the run is given up. A passing run never waits so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// SIGKILL.
const KILLED: i32 = 9;

/// A data folder, and the process on it if one runs.
pub(crate) struct Runtime {
    program: PathBuf,
    folder: PathBuf,
    serve: Vec<String>,
    /// Words of log lines that are waited for.
    marks: Vec<&'static str>,
    life: Option<Life>,
}

/// One process.
struct Life {
    child: Child,
    begun: Instant,
    seen: watch::Receiver<Seen>,
    reading: JoinHandle<()>,
}

/// What a process has said of itself so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// When it was ready.
    pub(crate) ready: Option<Instant>,
    /// Which of the awaited words it wrote.
    pub(crate) marks: Vec<&'static str>,
}

/// How a process ended, and what it had said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) seen: Seen,
}

impl Ended {
    /// Whether it was killed, and did not end by itself before.
    pub(crate) fn killed(&self) -> bool {
        self.status.signal() == Some(KILLED)
    }
}

impl Runtime {
    /// `program serve` with `serve` as further words, on `folder`/data; its log is `folder`/runtime.log.
    pub(crate) fn new(program: &Path, folder: &Path, serve: &[String], marks: Vec<&'static str>) -> Runtime {
        Runtime { program: program.into(), folder: folder.into(), serve: serve.to_vec(), marks, life: None }
    }

    /// Starts the process.
    pub(crate) async fn spawn(&mut self) -> Result<()> {
        let mut child = self
            .command()
            .args(["serve", "--no-metrics", "--log", "info"])
            .args(&self.serve)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {}; `cargo xtask crash` builds it", self.program.display()))?;
        let stderr = child.stderr.take().context("the server has no standard error")?;
        let log = tokio::fs::File::options().create(true).append(true).open(self.log_path()).await?;
        let (tell, seen) = watch::channel(Seen::default());
        let reading = tokio::spawn(read(stderr, log, self.marks.clone(), tell));
        self.life = Some(Life { child, begun: Instant::now(), seen, reading });
        Ok(())
    }

    /// Waits until the server is ready; how long that took since it was started.
    pub(crate) async fn ready(&mut self) -> Result<Duration> {
        let seen = self.await_seen("ready", |seen| seen.ready.is_some()).await?;
        let begun = self.life.as_ref().map(|life| life.begun);
        Ok(seen.ready.zip(begun).map(|(ready, begun)| ready - begun).unwrap_or_default())
    }

    /// Waits until it wrote a line with these words.
    pub(crate) async fn logged(&mut self, words: &'static str) -> Result<()> {
        self.await_seen(words, |seen| seen.marks.contains(&words)).await.map(|_| ())
    }

    async fn await_seen(&mut self, what: &str, done: impl Fn(&Seen) -> bool) -> Result<Seen> {
        let life = self.life.as_mut().context("no server runs")?;
        let waiting = tokio::time::timeout(PATIENCE, life.seen.wait_for(|seen| done(seen))).await;
        match waiting {
            Ok(Ok(seen)) => Ok(seen.clone()),
            Ok(Err(_)) => {
                let status = life.child.wait().await?;
                bail!("the server ended before it was {what}: {status}")
            }
            Err(_) => bail!("the server was not {what} within {PATIENCE:?}"),
        }
    }

    /// An error if the process ended although nobody asked it to.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.life.as_mut().map(|life| life.child.try_wait()).transpose()?.flatten() {
            Some(status) => bail!("the server ended by itself: {status}"),
            None => Ok(()),
        }
    }

    /// Sends SIGTERM.
    pub(crate) async fn terminate(&mut self) -> Result<()> {
        let id = self.life.as_ref().and_then(|life| life.child.id()).context("no server runs")?;
        let status = Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
        anyhow::ensure!(status.success(), "could not send SIGTERM to the server");
        Ok(())
    }

    /// Sends SIGKILL, and waits for the end and for the last of what it wrote.
    pub(crate) async fn kill(&mut self) -> Result<Ended> {
        let life = self.life.as_mut().context("no server runs")?;
        life.child.start_kill().ok();
        self.ended().await
    }

    /// Waits for the end.
    pub(crate) async fn ended(&mut self) -> Result<Ended> {
        let mut life = self.life.take().context("no server runs")?;
        let Ok(status) = tokio::time::timeout(PATIENCE, life.child.wait()).await else {
            bail!("the server did not end within {PATIENCE:?}")
        };
        life.reading.await.ok();
        let seen = life.seen.borrow().clone();
        Ok(Ended { status: status?, seen })
    }

    /// Runs `ferrule WORDS`; what it printed.
    pub(crate) async fn run(&self, words: &[&str]) -> Result<String> {
        let running = self.command().args(words).output();
        let output = tokio::time::timeout(PATIENCE, running).await.context("a command did not end")??;
        if !output.status.success() {
            let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            bail!("ferrule {} failed ({}):\n{out}{err}", words.join(" "), output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A command of the command line on this data folder, that ends when it is dropped.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("FERRULE_DATA", self.folder.join("data")).current_dir(&self.folder);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// The folder of the run.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Everything that the processes wrote.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.folder.join("runtime.log")
    }
}

async fn read(stderr: ChildStderr, mut log: tokio::fs::File, marks: Vec<&'static str>, tell: watch::Sender<Seen>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if line.starts_with("ready;") {
            tell.send_modify(|seen| seen.ready = Some(Instant::now()));
        }
        for mark in marks.iter().filter(|mark| line.contains(**mark)) {
            tell.send_modify(|seen| seen.marks.push(mark));
        }
        // The log is for people; a full disk shows elsewhere.
        log.write_all(line.as_bytes()).await.ok();
        log.write_all(b"\n").await.ok();
    }
    log.write_all(b"-- the process has ended\n").await.ok();
    log.flush().await.ok();
}
