//! A TCP proxy that misbehaves as networks do: slow, refusing, half-open, resetting.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use socket2::SockRef;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How often a pump looks whether it is to go on.
const LOOK: Duration = Duration::from_millis(20);

const PASSES: u8 = 0;
const FROZEN: u8 = 1;
const RESET: u8 = 2;

/// Stands before a server; it passes everything on until it is told otherwise.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    refuses: AtomicBool,
    /// Bytes a second and direction; 0: as fast as it goes.
    speed: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    ended: AtomicBool,
    links: Mutex<Vec<Arc<AtomicU8>>>,
}

impl Proxy {
    /// A proxy on a free loopback port.
    pub fn before(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            refuses: AtomicBool::new(false),
            speed: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            links: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.ended.load(Ordering::SeqCst) {
                    return;
                }
                accepting.accept(client.unwrap());
            }
        });
        Proxy { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it took.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many connections it reset at once.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// From now on resets each new connection at once, or no longer.
    pub fn refuse(&self, refuse: bool) {
        self.shared.refuses.store(refuse, Ordering::SeqCst);
    }

    /// From now on passes at most so many bytes a second in each direction; 0: as fast as it goes.
    pub fn slow(&self, speed: u64) {
        self.shared.speed.store(speed, Ordering::SeqCst);
    }

    /// Stops forwarding on the connections that there are, without closing them; new ones work.
    pub fn freeze(&self) {
        self.tell(FROZEN);
    }

    /// Resets the connections that there are, wherever they are in what they say.
    pub fn reset(&self) {
        self.tell(RESET);
    }

    fn tell(&self, what: u8) {
        for link in self.shared.links.lock().unwrap().drain(..) {
            link.store(what, Ordering::SeqCst);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.reset();
        // Wakes the thread that accepts.
        TcpStream::connect(self.address).ok();
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, client: TcpStream) {
        if self.refuses.load(Ordering::SeqCst) {
            SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
            self.refused.fetch_add(1, Ordering::SeqCst);
            return;
        }
        self.accepted.fetch_add(1, Ordering::SeqCst);
        // The server may be away; then the client's connection ends, as it would.
        let Ok(server) = TcpStream::connect(self.server) else { return };
        let link = Arc::new(AtomicU8::new(PASSES));
        self.links.lock().unwrap().push(Arc::clone(&link));
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            from.set_nodelay(true).unwrap();
            from.set_read_timeout(Some(LOOK)).unwrap();
            let (shared, link) = (Arc::clone(self), Arc::clone(&link));
            thread::spawn(move || shared.pump(from, to, &link));
        }
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, link: &AtomicU8) {
        let mut buffer = vec![0; 16 << 10];
        loop {
            match link.load(Ordering::SeqCst) {
                RESET => {
                    // The reset goes out when the last handle is closed; the other pump closes its own.
                    SockRef::from(&from).set_linger(Some(Duration::ZERO)).ok();
                    return;
                }
                FROZEN => {
                    if self.ended.load(Ordering::SeqCst) {
                        return;
                    }
                    thread::sleep(LOOK);
                    continue;
                }
                _ => {}
            }
            let speed = self.speed.load(Ordering::SeqCst);
            let most =
                if speed == 0 { buffer.len() } else { usize::try_from(speed / 50).unwrap().clamp(1, buffer.len()) };
            let length = match from.read(&mut buffer[..most]) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => break,
            };
            if speed > 0 {
                thread::sleep(Duration::from_millis(20));
            }
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        to.shutdown(Shutdown::Write).ok();
    }
}
