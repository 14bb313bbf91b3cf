//! The demo's own MQTT broker, on a free port of the loopback interface.

use anyhow::{Context as _, Result};
use rumqttd::{Broker, Config, ConnectionSettings, RouterConfig, ServerSettings};
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Starts the broker and waits until it accepts connections. It ends with the process.
pub(crate) fn start() -> Result<SocketAddr> {
    let listen = free_address()?;
    let connections = ConnectionSettings {
        connection_timeout_ms: 10_000,
        max_payload_size: 1 << 20,
        max_inflight_count: 500,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = ServerSettings { name: "demo".into(), listen, tls: None, next_connection_delay_ms: 1, connections };
    let config = Config {
        id: 0,
        router: RouterConfig {
            max_connections: 100,
            max_outgoing_packet_count: 1000,
            max_segment_size: 10 << 20,
            max_segment_count: 10,
            ..RouterConfig::default()
        },
        v4: Some(HashMap::from([("demo".into(), server)])),
        v5: None,
        ws: None,
        cluster: None,
        console: None,
        bridge: None,
        prometheus: None,
        metrics: None,
    };
    let mut broker = Broker::new(config);
    thread::Builder::new().name("broker".into()).spawn(move || {
        if let Err(error) = broker.start() {
            eprintln!("the demo's broker stopped: {error}");
        }
    })?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = TcpStream::connect_timeout(&listen, Duration::from_millis(200)) {
        if Instant::now() > deadline {
            return Err(error).context("the demo's broker did not come up within 10 s");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(listen)
}

/// An address that was free a moment ago: the broker takes a port by number only.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
