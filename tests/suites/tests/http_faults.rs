//! Faults of an HTTP server that records are posted to, and of the network before it: nothing is lost, order holds per key, and the far
//! side tells by the record's id what comes twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::{Ferrule, Proxy, until};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

const KEYS: u64 = 5;

/// What a server has: the number of each record by its id, in the order of their first arrival, and how many came again.
#[derive(Default)]
struct Arrived {
    ids: BTreeMap<String, u64>,
    numbers: Vec<u64>,
    again: usize,
}

/// A server that takes records, or answers 503 while it is told to.
struct Server {
    address: SocketAddr,
    arrived: Arc<Mutex<Arrived>>,
    busy: Arc<AtomicBool>,
    turned_away: Arc<AtomicU64>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (arrived, busy) = (Arc::<Mutex<Arrived>>::default(), Arc::new(AtomicBool::new(false)));
        let turned_away = Arc::new(AtomicU64::new(0));
        let (taken, refuses, turns_away) = (arrived.clone(), busy.clone(), turned_away.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (taken, refuses, turns_away) = (taken.clone(), refuses.clone(), turns_away.clone());
                thread::spawn(move || serve(client, &taken, &refuses, &turns_away));
            }
        });
        Server { address, arrived, busy, turned_away }
    }

    fn count(&self) -> usize {
        self.arrived.lock().unwrap().numbers.len()
    }
}

/// Takes requests until the connection ends; half a request is none.
fn serve(client: TcpStream, arrived: &Mutex<Arrived>, busy: &AtomicBool, turned_away: &AtomicU64) -> Option<()> {
    client.set_nodelay(true).ok()?;
    let mut answers = client.try_clone().ok()?;
    let mut client = BufReader::new(client);
    let line = |client: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        (client.read_line(&mut line).ok()? > 0).then(|| line.trim_end().to_owned())
    };
    while line(&mut client).is_some() {
        let (mut id, mut length, mut chunked) = (None, 0, false);
        while let Some((name, value)) = line(&mut client)?.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "ferrule-record-id" => id = Some(value.trim().to_owned()),
                "content-length" => length = value.trim().parse().unwrap(),
                "transfer-encoding" => chunked = true,
                _ => {}
            }
        }
        let mut body = Vec::new();
        loop {
            if chunked {
                length = usize::from_str_radix(&line(&mut client)?, 16).unwrap();
            }
            let begun = body.len();
            body.resize(begun + length, 0);
            client.read_exact(&mut body[begun..]).ok()?;
            if !chunked {
                break;
            }
            line(&mut client)?;
            if length == 0 {
                break;
            }
        }
        if busy.load(Ordering::SeqCst) {
            turned_away.fetch_add(1, Ordering::SeqCst);
            answers.write_all(b"HTTP/1.1 503 Busy\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n").ok()?;
            continue;
        }
        let record: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let (id, number) = (id.expect("each record has an id"), record["sequence"].as_u64().unwrap());
        let mut arrived = arrived.lock().unwrap();
        match arrived.ids.insert(id, number) {
            None => arrived.numbers.push(number),
            Some(before) => {
                assert_eq!(before, number, "an id stays with its record");
                arrived.again += 1;
            }
        }
        drop(arrived);
        answers.write_all(b"HTTP/1.1 204 Taken\r\n\r\n").ok()?;
    }
    None
}

/// Posts `count` records through a proxy, while `faults` does what it likes with it; then all must be there.
fn posts(count: u64, faults: impl FnOnce(&Server, &Proxy)) {
    let server = Server::start();
    let proxy = Proxy::before(server.address);
    let ferrule = Ferrule::start();
    ferrule
        .apply(&format!(
            "apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {{name: posts}}
spec:
  source: {{class: generator, parameters: {{rate: 500, size: 100, count: {count}, keys: {KEYS}}}}}
  sink: {{class: http, parameters: {{url: 'http://{address}/', timeout: 2}}}}
  retry: {{backoff: {{initial: 50ms, max: 1s}}}}
  start: beginning
---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {{name: server}}
spec: {{class: http, allow: [{{http: '{address}'}}]}}
",
            address = proxy.address()
        ))
        .ok();
    until("records", || (server.count() > 100).then_some(()));
    faults(&server, &proxy);
    until("all records", || (server.count() as u64 >= count).then_some(()));
    let arrived = server.arrived.lock().unwrap();
    assert_eq!(arrived.ids.len() as u64, count, "an id for each record, and no other");
    for key in 0..KEYS {
        let of_key: Vec<u64> = arrived.numbers.iter().copied().filter(|number| number % KEYS == key).collect();
        assert!(of_key.is_sorted(), "key {key}: {of_key:?}");
        assert_eq!(of_key.len() as u64, count / KEYS);
    }
    // A request that was cut off is posted again: one for each time, since one is on its way at once.
    assert!(
        arrived.again <= 10,
        "{} came again\n{}\n{}",
        arrived.again,
        ferrule.log(),
        ferrule.run(&["status", "-o", "yaml"]).out
    );
}

#[test]
fn a_server_that_is_busy_or_refuses_is_asked_again() {
    posts(2000, |server, proxy| {
        server.busy.store(true, Ordering::SeqCst);
        until("it was busy", || (server.turned_away.load(Ordering::SeqCst) > 0).then_some(()));
        server.busy.store(false, Ordering::SeqCst);
        let before = server.count();
        until("records again", || (server.count() > before + 20).then_some(()));
        proxy.refuse(true);
        proxy.reset();
        until("it refused", || (proxy.refused() > 1).then_some(()));
        proxy.refuse(false);
    });
}

#[test]
fn a_slow_or_half_open_way_to_the_server_loses_nothing() {
    posts(2000, |server, proxy| {
        proxy.slow(20_000);
        let before = server.count();
        until("some, slowly", || (server.count() > before + 20).then_some(()));
        proxy.slow(0);
        // The connections that there are say nothing any more, and nobody says so: the timeout does.
        proxy.freeze();
        let before = server.count();
        until("records by another connection", || (server.count() > before + 20).then_some(()));
    });
}

#[test]
fn resets_in_the_middle_of_requests_lose_nothing() {
    posts(3000, |server, proxy| {
        for _ in 0..5 {
            let before = server.count();
            proxy.reset();
            until("records again", || (server.count() > before + 50).then_some(()));
        }
    });
}
