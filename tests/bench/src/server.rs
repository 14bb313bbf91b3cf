//! The real `ferrule serve` as a child, seen from outside: documents in, `/metrics` out.

use anyhow::{Context as _, Result, bail, ensure};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::run::target;

/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running server.
pub(crate) struct Server {
    child: Child,
    metrics: u16,
}

/// A free port of the loopback.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Asks again and again until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let limit = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        ensure!(Instant::now() < limit, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Server {
    /// Starts it on this data; it need not answer yet.
    pub(crate) fn start(data: &Path) -> Result<Server> {
        let program = target().join("debug/ferrule");
        let metrics = free_port()?;
        let log = std::fs::File::create(data.with_extension("log"))?;
        let mut command = Command::new(&program);
        command.arg("serve").arg("--data").arg(data).args([
            "--log",
            "warn",
            "--metrics",
            &format!("127.0.0.1:{metrics}"),
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child =
            command.spawn().with_context(|| format!("no {}; `cargo xtask bench` builds it", program.display()))?;
        Ok(Server { child, metrics })
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it takes documents, and applies these.
    pub(crate) fn apply(&mut self, data: &Path, documents: &str) -> Result<()> {
        self.wait("the server answers", |_| true)?;
        let mut command = Command::new(target().join("debug/ferrule"));
        command.args(["apply", "-f", "-"]).env("FERRULE_DATA", data);
        let mut apply = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        apply.stdin.take().context("no standard input")?.write_all(documents.as_bytes())?;
        let output = apply.wait_with_output()?;
        ensure!(output.status.success(), "the documents were refused: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Waits until the metrics satisfy this.
    pub(crate) fn wait(&mut self, what: &str, done: impl Fn(&Metrics) -> bool) -> Result<()> {
        until(what, || {
            if let Some(status) = self.child.try_wait()? {
                bail!("ferrule serve ended: {status}");
            }
            Ok(self.metrics().filter(|metrics| done(metrics)).map(drop))
        })
    }

    /// What `/metrics` says, if it answers.
    fn metrics(&self) -> Option<Metrics> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.metrics)).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(Metrics(text))
    }

    /// Ends it as an operator does, and waits for the end.
    pub(crate) fn end(mut self) -> Result<()> {
        signal(self.child.id(), "TERM")?;
        until("ferrule serve ends", || Ok(self.child.try_wait()?)).map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}

/// Sends a signal to a process that this one started.
pub(crate) fn signal(process: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status()?;
    ensure!(status.success(), "could not send {name} to {process}");
    Ok(())
}

/// A page of metrics.
#[derive(Debug)]
pub(crate) struct Metrics(String);

impl Metrics {
    /// The sum of all samples of a name whose labels hold this text.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        let samples = self.0.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
        });
        samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_name_are_summed() {
        let metrics = Metrics("# HELP up x\nup{a=\"1\"} 1.0\nup{a=\"2\"} 2.0\nupper{a=\"1\"} 7\nplain 3\n".into());
        assert_eq!(metrics.sum("up", ""), 3.0);
        assert_eq!(metrics.sum("up", "a=\"2\""), 2.0);
        assert_eq!(metrics.sum("plain", ""), 3.0);
    }
}
