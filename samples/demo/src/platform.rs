//! The `ferrule` binary as a user starts it: a server on a folder of its own, and commands that talk to it.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A running `ferrule serve`.
pub(crate) struct Platform {
    binary: PathBuf,
    environment: Vec<(&'static str, String)>,
    server: Child,
}

impl Platform {
    /// Starts the server and waits until it answers.
    pub(crate) fn start(data: &Path, broker: SocketAddr, forbidden: SocketAddr) -> Result<Platform> {
        let binary = std::env::current_exe()?.with_file_name("ferrule");
        let environment = vec![
            ("FERRULE_DATA", data.to_string_lossy().into_owned()),
            ("DEMO_BROKER", broker.to_string()),
            ("DEMO_FORBIDDEN", forbidden.to_string()),
        ];
        let server = Command::new(&binary)
            .args(["serve", "--no-metrics", "--log", "error"])
            .envs(environment.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| {
                format!("could not start {}; build it with `cargo build --package ferrule-cli`", binary.display())
            })?;
        let mut platform = Platform { binary, environment, server };
        let deadline = Instant::now() + Duration::from_secs(60);
        while platform.command(&["status", "-o", "json"]).is_err() {
            if let Some(status) = platform.server.try_wait()? {
                bail!("ferrule serve ended at once: {status}");
            }
            if Instant::now() > deadline {
                bail!("ferrule serve did not answer within 60 s");
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(platform)
    }

    /// Runs `ferrule WORDS` against the server; what it prints on standard output.
    pub(crate) fn command(&self, words: &[&str]) -> Result<String> {
        let output = Command::new(&self.binary)
            .args(words)
            .envs(self.environment.iter().map(|(name, value)| (*name, value)))
            .output()?;
        if !output.status.success() {
            bail!(
                "ferrule {} failed ({}):\n{}",
                words.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits until `done` holds for an object as `ferrule get KIND NAME -o json` prints it.
    pub(crate) fn wait_for(&self, kind: &str, name: &str, what: &str, done: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let text = self.command(&["get", kind, name, "-o", "json"])?;
            let object: Value =
                serde_json::from_str(&text).with_context(|| format!("ferrule get printed no JSON: {text}"))?;
            if done(&object) {
                return Ok(object);
            }
            if Instant::now() > deadline {
                bail!("{kind} {name} is not {what} after 30 s: {object:#}");
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Whether the server still runs.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.server.try_wait()? {
            Some(status) => bail!("ferrule serve ended in the middle: {status}"),
            None => Ok(()),
        }
    }

    /// Stops the server as an operator would, by SIGTERM, and waits for it.
    pub(crate) fn stop(mut self) -> Result<ExitStatus> {
        let id = self.server.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().context("could not send SIGTERM")?;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.server.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("ferrule serve did not stop within 20 s of SIGTERM");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        // An error on the way out must not leave a server behind; it is gone already where `stop` was called.
        if matches!(self.server.try_wait(), Ok(None)) && self.server.kill().is_ok() {
            self.server.wait().ok();
        }
    }
}
