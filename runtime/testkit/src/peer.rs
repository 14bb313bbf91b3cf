//! Plays the outside system: a TCP server on a loopback port that does what a script says.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::record::{Bytes, shown};

/// One act of the outside system. The first one waits for a connection.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// These bytes must come next, and no others before them.
    Expect(Bytes),
    /// Bytes come until these have; what came before them does not matter.
    ExpectUntil(Bytes),
    /// So many bytes come, whatever they are.
    Skip(usize),
    /// Sends these bytes.
    Send(Bytes),
    /// The guest must close the connection: no byte comes before.
    ExpectClose(bool),
    /// Closes the connection; the next act waits for a new one.
    Close(bool),
    /// Takes whatever comes and answers nothing, until the connection ends.
    Swallow(bool),
    /// Sends back whatever comes, until the connection ends.
    Echo(bool),
}

/// A peer that plays its script in the background.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
    task: JoinHandle<Result<(), String>>,
}

impl Peer {
    /// Starts to listen on a free loopback port and to play `acts`.
    pub async fn start(acts: Vec<Act>) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(play(listener, acts, address.port()));
        Ok(Self { address, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the script is played to its end; says what was expected and found where it was not.
    pub async fn finish(mut self, within: Duration) -> Result<(), String> {
        match timeout(within, &mut self.task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Err(format!("the peer broke: {error}")),
            Err(_) => Err(format!(
                "the peer still waited {} s after the last step for what its script expects",
                within.as_secs_f64()
            )),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Connection {
    stream: TcpStream,
    /// Bytes that came and were not asked for yet.
    pending: Vec<u8>,
}

impl Connection {
    /// Reads more bytes; whether there were any.
    async fn more(&mut self) -> Result<bool, String> {
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer).await.map_err(|e| format!("the connection broke: {e}"))?;
        self.pending.extend_from_slice(buffer.get(..count).unwrap_or_default());
        Ok(count > 0)
    }
}

async fn play(listener: TcpListener, acts: Vec<Act>, port: u16) -> Result<(), String> {
    let replace = |text: &str| text.replace("${port}", &port.to_string());
    let mut connection: Option<Connection> = None;
    for (i, act) in acts.into_iter().enumerate() {
        let at = |problem: String| format!("peer, act {i}: {problem}");
        let connected = match &mut connection {
            Some(connected) => connected,
            None => {
                let (stream, _) = listener.accept().await.map_err(|e| at(e.to_string()))?;
                connection.insert(Connection { stream, pending: Vec::new() })
            }
        };
        let ended = act.play(connected, &replace).await.map_err(at)?;
        if ended {
            connection = None;
        }
    }
    Ok(())
}

impl Act {
    /// Plays the act; whether the connection is over after it.
    async fn play(self, on: &mut Connection, replace: &(dyn Fn(&str) -> String + Sync)) -> Result<bool, String> {
        match self {
            Self::Expect(bytes) => {
                let wanted = bytes.to_bytes(replace)?;
                while on.pending.len() < wanted.len() && wanted.starts_with(&on.pending) {
                    if !on.more().await? {
                        return Err(differs(&wanted, &on.pending, " and then the end of the connection"));
                    }
                }
                if !on.pending.starts_with(&wanted) {
                    return Err(differs(&wanted, &on.pending, ""));
                }
                on.pending.drain(..wanted.len());
                Ok(false)
            }
            Self::ExpectUntil(bytes) => {
                let wanted = bytes.to_bytes(replace)?;
                loop {
                    if let Some(end) = position(&on.pending, &wanted) {
                        on.pending.drain(..end);
                        return Ok(false);
                    }
                    if !on.more().await? {
                        return Err(differs(&wanted, &on.pending, " and then the end of the connection"));
                    }
                }
            }
            Self::Skip(count) => {
                while on.pending.len() < count {
                    if !on.more().await? {
                        return Err(format!(
                            "expected: {count} bytes\n   found: {} bytes and then the end of the connection",
                            on.pending.len()
                        ));
                    }
                }
                on.pending.drain(..count);
                Ok(false)
            }
            Self::Send(bytes) => {
                let bytes = bytes.to_bytes(replace)?;
                on.stream.write_all(&bytes).await.map_err(|e| format!("cannot send: {e}"))?;
                Ok(false)
            }
            Self::ExpectClose(_) => {
                if on.pending.is_empty() && !on.more().await? {
                    return Ok(true);
                }
                Err(format!("expected: the end of the connection\n   found: {}", shown(&on.pending)))
            }
            Self::Close(_) => {
                on.stream.shutdown().await.map_err(|e| format!("cannot close: {e}"))?;
                Ok(true)
            }
            Self::Swallow(_) => {
                while on.more().await? {
                    on.pending.clear();
                }
                Ok(true)
            }
            Self::Echo(_) => loop {
                let pending = std::mem::take(&mut on.pending);
                on.stream.write_all(&pending).await.map_err(|e| format!("cannot send: {e}"))?;
                if !on.more().await? {
                    return Ok(true);
                }
            },
        }
    }
}

fn differs(wanted: &[u8], found: &[u8], then: &str) -> String {
    format!("expected: {}\n   found: {}{then}", shown(wanted), shown(found))
}

/// Where `needle` ends in `haystack`.
fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    haystack.windows(needle.len()).position(|window| window == needle).map(|start| start + needle.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acts(yaml: &str) -> Vec<Act> {
        serde_saphyr::from_str(yaml).unwrap()
    }

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_peer_plays_its_script() {
        let peer = Peer::start(acts(
            "- expect: hello\n- send: {base64: AQI=}\n- expect-until: \"end\\n\"\n- expect-close: true\n",
        ))
        .await
        .unwrap();
        let mut stream = TcpStream::connect(peer.address()).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [1, 2]);
        stream.write_all(b"whatever end\n").await.unwrap();
        drop(stream);
        peer.finish(SOON).await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_says_what_it_found_instead() {
        let peer = Peer::start(acts("- expect: hello\n")).await.unwrap();
        let mut stream = TcpStream::connect(peer.address()).await.unwrap();
        stream.write_all(b"help").await.unwrap();
        let problem = peer.finish(SOON).await.unwrap_err();
        assert_eq!(problem, "peer, act 0: expected: \"hello\"\n   found: \"help\"");
        assert!(Peer::start(acts("- expect: hello\n")).await.unwrap().finish(Duration::from_millis(50)).await.is_err());
    }
}
