//! A real Mosquitto broker on a free port, with its log, that can be stopped and started again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use crate::until;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A broker.
pub struct Mosquitto {
    program: PathBuf,
    folder: TempDir,
    address: SocketAddr,
    broker: Option<Child>,
}

impl Mosquitto {
    /// Starts a broker; nothing, with one line that says so, where Mosquitto is not installed.
    pub fn start() -> Option<Mosquitto> {
        Mosquitto::start_with("", &[])
    }

    /// The same with further lines of configuration, and users with their passwords; others need none.
    pub fn start_with(lines: &str, users: &[(&str, &str)]) -> Option<Mosquitto> {
        let paths =
            ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto", "/usr/bin/mosquitto"];
        let Some(program) = paths.iter().map(PathBuf::from).find(|path| path.is_file()) else {
            eprintln!("skipped: needs the Mosquitto broker (Debian: apt-get install mosquitto)");
            return None;
        };
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut lines = lines.to_owned();
        if !users.is_empty() {
            let file = folder.path().join("users");
            fs::write(&file, "").unwrap();
            for (user, password) in users {
                let made = Command::new("mosquitto_passwd").arg("-b").arg(&file).args([user, password]).output();
                assert!(made.expect("mosquitto_passwd, which comes with the broker").status.success());
            }
            lines.push_str(&format!("password_file {}\n", file.display()));
        }
        let config = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\nautosave_interval 1\n\
             max_queued_messages 0\nmax_queued_bytes 0\nset_tcp_nodelay true\nlog_type all\nlog_dest file {}\n{}{lines}",
            address.port(),
            folder.path().display(),
            folder.path().join("log").display(),
            if is_root() { "user root\n" } else { "" },
        );
        fs::write(folder.path().join("conf"), config).unwrap();
        let mut mosquitto = Mosquitto { program, folder, address, broker: None };
        mosquitto.up();
        Some(mosquitto)
    }

    /// Starts the broker on the same port and data.
    pub fn up(&mut self) {
        let broker = Command::new(&self.program)
            .arg("-c")
            .arg(self.folder.path().join("conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.broker = Some(broker.unwrap());
        until("Mosquitto accepts connections", || TcpStream::connect(self.address).ok());
    }

    /// Stops the broker by SIGTERM: it saves its sessions.
    pub fn down(&mut self) {
        let mut broker = self.broker.take().expect("a running broker");
        Command::new("kill").args(["-TERM", &broker.id().to_string()]).status().unwrap();
        until("Mosquitto ends", || broker.try_wait().unwrap());
    }

    /// Kills the broker: what it did not save it forgets.
    pub fn kill(&mut self) {
        let mut broker = self.broker.take().expect("a running broker");
        broker.kill().unwrap();
        broker.wait().unwrap();
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many lines of its log hold all of these words.
    pub fn logged(&self, words: &[&str]) -> usize {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    /// The lines of its log.
    pub fn log_lines(&self) -> Vec<String> {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    fn log(&self) -> PathBuf {
        Path::new(self.folder.path()).join("log")
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(mut broker) = self.broker.take()
            && broker.kill().is_ok()
        {
            broker.wait().ok();
        }
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().map(|output| output.stdout).unwrap_or_default();
    id.trim_ascii() == b"0"
}
