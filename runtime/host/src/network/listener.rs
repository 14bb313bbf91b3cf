//! Listening ports.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ferrule_model::capability::AbilityKind;
use tokio::net::{TcpListener, TcpStream};
use wasmtime_wasi::p2::Pollable;

use super::connection::Connection;
use super::gate::{Door, Failure, Gate};
use super::quota::{Permit, Tally};

/// An open listening port; closed when it is dropped.
pub struct Listener {
    gate: Arc<Gate>,
    _permit: Permit,
    socket: TcpListener,
    local: SocketAddr,
    accepted: Option<io::Result<TcpStream>>,
}

impl Listener {
    pub(crate) fn open(gate: &Arc<Gate>, address: &str, port: u16) -> Result<Self, Failure> {
        gate.check_name(Door::Net, AbilityKind::Listen, address, port)?;
        let permit = gate.socket()?;
        let ip: IpAddr = match address.trim_start_matches('[').trim_end_matches(']') {
            "localhost" => IpAddr::from([127, 0, 0, 1]),
            bare => bare.parse().map_err(|_| {
                Failure::Invalid(format!("`{address}` is not an address to listen on, such as 0.0.0.0"))
            })?,
        };
        let cannot =
            |error: io::Error| Failure::Unreachable(format!("cannot listen on {address} port {port}: {error}"));
        let socket = std::net::TcpListener::bind((ip, port)).map_err(cannot)?;
        socket.set_nonblocking(true).map_err(cannot)?;
        let socket = TcpListener::from_std(socket).map_err(cannot)?;
        let local = socket.local_addr().map_err(cannot)?;
        Ok(Self { gate: gate.clone(), _permit: permit, socket, local, accepted: None })
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn accept(&mut self) -> Option<Result<Connection, Failure>> {
        let accepted = match self.accepted.take() {
            Some(accepted) => accepted,
            None => match self.socket.poll_accept(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(accepted) => accepted.map(|(stream, _)| stream),
                Poll::Pending => return None,
            },
        };
        // One caller too many is hung up on.
        let permit = match self.gate.socket() {
            Ok(permit) => permit,
            Err(failure) => return Some(Err(failure)),
        };
        let connection = accepted.and_then(|stream| {
            let _ = stream.set_nodelay(true);
            Connection::new(stream, Tally::new(permit, self.gate.traffic_at(self.local)))
        });
        let failed = |error| Failure::Unreachable(format!("a connection to {} failed: {error}", self.local));
        Some(connection.map_err(failed))
    }
}

#[async_trait::async_trait]
impl Pollable for Listener {
    async fn ready(&mut self) {
        if self.accepted.is_none() {
            self.accepted = Some(self.socket.accept().await.map(|(stream, _)| stream));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_was_not_granted_is_refused() {
        let gate = Arc::new(Gate::new(
            crate::guest::Identity {
                name: "door".into(),
                hint: crate::guest::GrantHint::default(),
                rules: vec![ferrule_model::capability::Ability::parse(AbilityKind::Listen, "127.0.0.1:0").unwrap()]
                    .into(),
                asked: Vec::new(),
                redactor: Default::default(),
                observer: Arc::new(crate::observer::Unobserved),
                around: Arc::default(),
                tls: Default::default(),
                attached: Default::default(),
                component: String::new(),
                guards: crate::guards::Guards::default(),
            },
            &crate::limits::Limits::default(),
        ));
        let Err(Failure::Denied(refusal)) = Listener::open(&gate, "0.0.0.0", 9) else { panic!("it listens") };
        assert_eq!(refusal.code, ferrule_model::Code::ListenDenied);
        let listener = Listener::open(&gate, "127.0.0.1", 0).unwrap();
        assert!(listener.local().ip().is_loopback());
    }
}
