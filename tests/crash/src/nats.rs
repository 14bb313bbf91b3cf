//! A real nats-server with JetStream that keeps the runtime's log, and is killed and started again on its data.

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// The server. It ends when this is dropped.
pub(crate) struct Nats {
    program: PathBuf,
    config: PathBuf,
    address: SocketAddr,
    child: Option<Child>,
    kills: u64,
}

impl Nats {
    /// Where `cargo xtask setup` builds it, if it did.
    pub(crate) fn program() -> Option<PathBuf> {
        let folder = std::env::current_exe().ok()?.parent()?.parent()?.join("tools");
        Some(folder.join("nats-server")).filter(|path| path.is_file())
    }

    /// Starts the server on a free loopback port, with its files in `folder`, and waits until it answers.
    pub(crate) async fn start(folder: &Path) -> Result<Nats> {
        let program = Nats::program().context("there is no nats-server")?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?;
        let text = format!(
            "listen: 127.0.0.1:{}\nserver_name: crash\nlog_file: {:?}\njetstream {{\n  store_dir: {:?}\n}}\n",
            address.port(),
            folder.join("nats.log"),
            folder.join("jetstream"),
        );
        let config = folder.join("nats.conf");
        fs::write(&config, text)?;
        let mut nats = Nats { program, config, address, child: None, kills: 0 };
        nats.up().await?;
        Ok(nats)
    }

    /// Where the runtime finds it.
    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Starts the server on the data that is there, and waits until it says who it is.
    pub(crate) async fn up(&mut self) -> Result<()> {
        let child = Command::new(&self.program)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("could not start {}", self.program.display()))?;
        let child = self.child.insert(child);
        for _ in 0..1200 {
            if greeted(self.address).await {
                return Ok(());
            }
            if let Some(status) = child.try_wait()? {
                bail!("nats-server ended by itself: {status}");
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        bail!("nats-server does not answer at {}", self.address)
    }

    /// Sends SIGKILL, and waits for the end.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("no nats-server runs")?;
        child.kill().await?;
        self.kills += 1;
        Ok(())
    }

    /// How often it was killed.
    pub(crate) fn kills(&self) -> u64 {
        self.kills
    }
}

async fn greeted(address: SocketAddr) -> bool {
    let greeting = async {
        let mut line = String::new();
        let stream = TcpStream::connect(address).await.ok()?;
        BufReader::new(stream).read_line(&mut line).await.ok()?;
        line.starts_with("INFO").then_some(())
    };
    tokio::time::timeout(Duration::from_secs(1), greeting).await.ok().flatten().is_some()
}
