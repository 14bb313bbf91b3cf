//! A real nats-server with JetStream on a free port, that can be stopped, killed, halted and started again on its data.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use crate::until;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A server.
pub struct Nats {
    program: PathBuf,
    folder: TempDir,
    address: SocketAddr,
    server: Option<Child>,
}

impl Nats {
    /// Starts a server; nothing, with one line that says so, where it was not built.
    pub fn start() -> Option<Nats> {
        Self::start_with("")
    }

    /// The same, with these words in the `jetstream` block of its configuration.
    pub fn start_with(jetstream: &str) -> Option<Nats> {
        Self::configured(jetstream, "")
    }

    /// The same, for this user and password only.
    pub fn guarded(user: &str, password: &str) -> Option<Nats> {
        Self::configured("", &format!("authorization {{ user: {user}, password: {password} }}"))
    }

    fn configured(jetstream: &str, rest: &str) -> Option<Nats> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/nats-server");
        if !program.is_file() {
            eprintln!("skipped: needs nats-server (`cargo xtask setup` builds it where there is Go)");
            return None;
        }
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "listen: 127.0.0.1:{}\nserver_name: test\nlog_file: {:?}\njetstream {{\n  store_dir: {:?}\n  {jetstream}\n}}\n{rest}\n",
            address.port(),
            folder.path().join("log"),
            folder.path().join("store"),
        );
        fs::write(folder.path().join("conf"), config).unwrap();
        let mut nats = Nats { program, folder, address, server: None };
        nats.up();
        Some(nats)
    }

    /// Starts the server on the same port and data, and waits until it answers.
    pub fn up(&mut self) {
        let server = Command::new(&self.program)
            .arg("--config")
            .arg(self.folder.path().join("conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.server = Some(server.unwrap());
        until("nats-server says who it is", || {
            let stream = TcpStream::connect(self.address).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).ok()?;
            line.starts_with("INFO").then_some(())
        });
    }

    /// Ends the server as an operator does.
    pub fn down(&mut self) {
        self.signal("TERM");
        self.ended();
    }

    /// Ends the server as a crash does.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.ended();
    }

    /// The server does nothing, and its connections stay. It has stopped when this returns: a signal takes a moment.
    pub fn halt(&self) {
        self.signal("STOP");
        let Some(server) = &self.server else { return };
        let tasks = format!("/proc/{}/task", server.id());
        let stopped = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The state comes after the name, which is in parentheses.
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        };
        until("every thread of nats-server has stopped", || {
            fs::read_dir(&tasks).ok()?.flatten().all(stopped).then_some(())
        });
    }

    /// It goes on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// The folder with what it keeps.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    fn signal(&self, signal: &str) {
        let server = self.server.as_ref().expect("a running server");
        let id = server.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
    }

    fn ended(&mut self) {
        let mut server = self.server.take().expect("a running server");
        until("nats-server ends", || server.try_wait().unwrap());
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take()
            && server.kill().is_ok()
        {
            server.wait().ok();
        }
    }
}
