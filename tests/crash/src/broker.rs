//! A real Mosquitto that outlives the runtime, with an account of every packet from its own log.

use anyhow::{Context as _, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

/// Where Debian, Homebrew and others put the broker.
const PLACES: [&str; 4] =
    ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto", "/usr/bin/mosquitto"];

/// Messages that the broker sends to a client before it waits for acknowledgements: more than its default of 20, so that more is at
/// stake at a kill. (From the queue of a client that was away it sends more than that.)
const WINDOW: u16 = 100;

/// The broker. It ends when this is dropped.
pub(crate) struct Broker {
    address: SocketAddr,
    account: Arc<Mutex<BTreeMap<String, Client>>>,
    child: Child,
}

/// What the broker exchanged with one client, over all its connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    /// Connections that it accepted.
    pub(crate) connections: u64,
    /// Subscriptions that it confirmed.
    pub(crate) subscriptions: u64,
    /// Messages that it received from the client.
    pub(crate) received: u64,
    /// Messages that it sent to the client once more, because an earlier connection ended without the acknowledgement.
    pub(crate) sent_again: u64,
    /// Packet identifiers of messages sent and not acknowledged.
    unacknowledged: BTreeSet<u16>,
}

impl Client {
    /// Messages sent to the client and not acknowledged by it.
    pub(crate) fn in_flight(&self) -> u64 {
        self.unacknowledged.len() as u64
    }
}

impl Broker {
    /// Whether there is a Mosquitto on this machine.
    pub(crate) fn program() -> Option<PathBuf> {
        PLACES.iter().map(PathBuf::from).find(|path| path.is_file())
    }

    /// Starts the broker on a free loopback port, with its files in `folder`, and waits until it accepts connections.
    pub(crate) async fn start(program: &Path, folder: &Path) -> Result<Broker> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?;
        let config = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 0\nmax_queued_bytes 0\n\
             max_inflight_messages {WINDOW}\nset_tcp_nodelay true\nlog_type all\nlog_dest stderr\n{}",
            address.port(),
            if is_root().await { "user root\n" } else { "" },
        );
        let path = folder.join("mosquitto.conf");
        fs::write(&path, config)?;
        let mut child = Command::new(program)
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("could not start {}", program.display()))?;
        let log = child.stderr.take().context("Mosquitto has no standard error")?;
        let account = Arc::new(Mutex::new(BTreeMap::new()));
        tokio::spawn({
            let account = Arc::clone(&account);
            async move {
                let mut lines = BufReader::new(log).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    note(&mut account.lock().unwrap_or_else(PoisonError::into_inner), &line);
                }
            }
        });
        let mut broker = Broker { address, account, child };
        for _ in 0..600 {
            if TcpStream::connect(address).await.is_ok() {
                return Ok(broker);
            }
            broker.check()?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("Mosquitto does not accept connections at {address}")
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The account of a client, as far as the log is read.
    pub(crate) fn client(&self, name: &str) -> Client {
        self.account.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    /// A reading of one figure of the account, for those who watch it.
    pub(crate) fn meter(
        &self,
        name: &'static str,
        figure: fn(&Client) -> u64,
    ) -> impl Fn() -> u64 + Send + Sync + use<> {
        let account = Arc::clone(&self.account);
        move || account.lock().unwrap_or_else(PoisonError::into_inner).get(name).map_or(0, figure)
    }

    /// An error if the broker has ended: nothing can be said then.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the broker itself ended: {status}"),
            None => Ok(()),
        }
    }
}

async fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().await.map(|output| output.stdout).unwrap_or_default();
    id.trim_ascii() == b"0"
}

/// Enters a line of the log.
fn note(account: &mut BTreeMap<String, Client>, line: &str) {
    let text = line.split_once(": ").map_or(line, |(_, text)| text);
    if let Some((_, rest)) = text.strip_prefix("New client connected from ").and_then(|rest| rest.split_once(" as ")) {
        client(account, rest).connections += 1;
    } else if let Some(rest) = text.strip_prefix("Sending PUBLISH to ") {
        let client = client(account, rest);
        client.unacknowledged.extend(number_after(rest, ", m", ','));
        client.sent_again += u64::from(rest.contains("(d1,"));
    } else if let Some(rest) = text.strip_prefix("Received PUBACK from ") {
        if let Some(packet) = number_after(rest, "(Mid: ", ',') {
            client(account, rest).unacknowledged.remove(&packet);
        }
    } else if let Some(rest) = text.strip_prefix("Sending SUBACK to ") {
        client(account, rest).subscriptions += 1;
    } else if let Some(rest) = text.strip_prefix("Received PUBLISH from ") {
        client(account, rest).received += 1;
    }
}

fn client<'a>(account: &'a mut BTreeMap<String, Client>, rest: &str) -> &'a mut Client {
    account.entry(rest.split(' ').next().unwrap_or_default().to_owned()).or_default()
}

fn number_after(text: &str, before: &str, end: char) -> Option<u16> {
    text.split_once(before)?.1.split(end).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::note;
    use std::collections::BTreeMap;

    #[test]
    fn the_log_of_mosquitto_is_understood() {
        let mut account = BTreeMap::new();
        for line in [
            "1700000000: New client connected from 127.0.0.1:42 as source (p2, c0, k60).",
            "1700000000: Sending SUBACK to source",
            "1700000000: Received PUBLISH from near (d0, q1, r0, m7, 'in/k0', ... (99 bytes))",
            "1700000000: Sending PUBLISH to source (d0, q1, r0, m1, 'in/k0', ... (99 bytes))",
            "1700000000: Sending PUBLISH to source (d0, q1, r0, m2, 'in/k0', ... (99 bytes))",
            "1700000000: Received PUBACK from source (Mid: 1, RC:0)",
            "1700000000: Sending PUBLISH to source (d1, q1, r0, m2, 'in/k0', ... (99 bytes))",
            "1700000000: New client connected from 127.0.0.1:43 as source (p2, c0, k60).",
        ] {
            note(&mut account, line);
        }
        let source = &account["source"];
        assert_eq!((source.connections, source.subscriptions, source.sent_again, source.in_flight()), (2, 1, 1, 1));
        assert_eq!(account["near"].received, 1);
    }
}
