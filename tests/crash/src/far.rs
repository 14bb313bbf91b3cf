//! The far side of the scenario `once`: an HTTP server that takes each record once, by the id that comes with it, and writes it to a
//! file as a line. What it drops is counted.

use anyhow::{Context as _, Result, bail};
use std::collections::HashSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The header that has the record's id.
const ID: &str = "ferrule-record-id";

/// Larger bodies are none of this run's.
const LARGEST: usize = 1 << 20;

/// The server; it ends when it is dropped.
pub(crate) struct FarSide {
    address: SocketAddr,
    taken: Arc<Taken>,
    serving: JoinHandle<()>,
}

struct Taken {
    file: Mutex<(std::fs::File, HashSet<Vec<u8>>)>,
    count: AtomicU64,
    again: AtomicU64,
    without_id: AtomicU64,
}

impl FarSide {
    /// Listens on a free loopback port; what it takes goes to `file`.
    pub(crate) async fn start(file: &Path) -> Result<FarSide> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let file = std::fs::File::create(file).with_context(|| format!("could not write {}", file.display()))?;
        let taken = Arc::new(Taken {
            file: Mutex::new((file, HashSet::new())),
            count: AtomicU64::new(0),
            again: AtomicU64::new(0),
            without_id: AtomicU64::new(0),
        });
        let serving = tokio::spawn({
            let taken = taken.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let taken = taken.clone();
                    // A client that is killed in the middle of a request said nothing.
                    tokio::spawn(async move { serve(client, &taken).await.ok() });
                }
            }
        });
        Ok(FarSide { address, taken, serving })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads at any time how many records it took.
    pub(crate) fn count(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let taken = self.taken.clone();
        move || taken.count.load(SeqCst)
    }

    /// How many it dropped because it had their ids.
    pub(crate) fn again(&self) -> u64 {
        self.taken.again.load(SeqCst)
    }

    /// How many came without an id.
    pub(crate) fn without_id(&self) -> u64 {
        self.taken.without_id.load(SeqCst)
    }
}

impl Drop for FarSide {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(client: TcpStream, taken: &Taken) -> Result<()> {
    client.set_nodelay(true)?;
    let mut client = BufReader::new(client);
    while let Some((id, body)) = request(&mut client).await? {
        taken.take(id, &body)?;
        client.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
    }
    Ok(())
}

/// The id and the body of the next request; none at the end of the connection.
async fn request(client: &mut BufReader<TcpStream>) -> Result<Option<(Option<Vec<u8>>, Vec<u8>)>> {
    let mut line = String::new();
    if client.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let (mut id, mut length, mut chunked) = (None, 0, false);
    loop {
        line.clear();
        client.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            ID => id = Some(value.trim().as_bytes().to_vec()),
            "content-length" => length = value.trim().parse()?,
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let mut body = Vec::new();
    loop {
        if chunked {
            line.clear();
            client.read_line(&mut line).await?;
            length = usize::from_str_radix(line.trim(), 16)?;
        }
        if body.len() + length > LARGEST {
            bail!("a request is too large");
        }
        let begun = body.len();
        body.resize(begun + length, 0);
        client.read_exact(&mut body[begun..]).await?;
        if !chunked {
            break;
        }
        line.clear();
        client.read_line(&mut line).await?;
        if length == 0 {
            break;
        }
    }
    Ok(Some((id, body)))
}

impl Taken {
    fn take(&self, id: Option<Vec<u8>>, body: &[u8]) -> Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, ids) = &mut *file;
        let Some(id) = id else {
            self.without_id.fetch_add(1, SeqCst);
            return self.write(file, body);
        };
        if !ids.insert(id) {
            self.again.fetch_add(1, SeqCst);
            return Ok(());
        }
        self.write(file, body)
    }

    fn write(&self, file: &mut std::fs::File, body: &[u8]) -> Result<()> {
        file.write_all(&[body, b"\n"].concat())?;
        self.count.fetch_add(1, SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_record_is_taken_once_and_half_a_request_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out");
        let far = FarSide::start(&file).await.unwrap();
        let mut client = TcpStream::connect(far.address()).await.unwrap();
        let post = |id: &str, body: &str| {
            format!("POST / HTTP/1.1\r\nFerrule-Record-Id: {id}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        };
        let mut answer = [0; 27];
        for (id, body) in [("a", "one"), ("b", "two"), ("a", "one")] {
            client.write_all(post(id, body).as_bytes()).await.unwrap();
            client.read_exact(&mut answer).await.unwrap();
        }
        client
            .write_all(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nthree\r\n0\r\n\r\n")
            .await
            .unwrap();
        client.read_exact(&mut answer).await.unwrap();
        client.write_all(&post("c", "half a body").as_bytes()[..70]).await.unwrap();
        drop(client);
        assert_eq!(((far.count())(), far.again(), far.without_id()), (3, 1, 1));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "one\ntwo\nthree\n");
    }
}
