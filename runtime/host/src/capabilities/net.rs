//! `net`: connections, name look-up and listening, all through the guest's [`Gate`](crate::network::Gate).

use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, subscribe};

use crate::bindings::ferrule::connector::net;
use crate::guest::Guest;
use crate::network::{Connecting, Connection, Failure, Listener, TlsOptions};

impl From<Failure> for net::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Denied(refusal) => Self::Denied(format!("{}\n{}", refusal.message, refusal.remedy)),
            Failure::UnknownName(message) => Self::UnknownName(message),
            Failure::Unreachable(message) | Failure::Limited(message) => Self::Unreachable(message),
            Failure::Unsupported(message) => Self::Unsupported(message),
            Failure::Invalid(message) => Self::Invalid(message),
        }
    }
}

type Fallible<T> = wasmtime::Result<Result<T, net::Failure>>;

impl net::Host for &mut Guest {
    fn connect(&mut self, host: String, port: u16, tls: Option<net::TlsOptions>) -> Fallible<Resource<Connecting>> {
        let tls = tls.map(|tls| TlsOptions::read(tls.server_name, tls.protocols, &tls.properties));
        let started = tls.transpose().and_then(|tls| Connecting::start(&self.gate, &host, port, tls));
        match started {
            Ok(connecting) => Ok(Ok(self.table.push(connecting)?)),
            Err(failure) => Ok(Err(failure.into())),
        }
    }

    async fn resolve(&mut self, host: String) -> Fallible<Vec<String>> {
        let gate = self.gate.clone();
        let wake = self.wake.clone();
        let answer = tokio::select! {
            answer = gate.resolve(&host) => answer,
            () = wake.asked() => Err(Failure::Unreachable(format!("the look-up of `{host}` was given up, because the host asked the guest to return"))),
        };
        Ok(answer.map(|addresses| addresses.iter().map(ToString::to_string).collect()).map_err(Into::into))
    }

    fn listen(&mut self, address: String, port: u16) -> Fallible<Resource<Listener>> {
        match Listener::open(&self.gate, &address, port) {
            Ok(listener) => Ok(Ok(self.table.push(listener)?)),
            Err(failure) => Ok(Err(failure.into())),
        }
    }
}

impl net::HostConnection for &mut Guest {
    fn input(&mut self, connection: Resource<Connection>) -> wasmtime::Result<Resource<DynInputStream>> {
        let input = self.table.get_mut(&connection)?.take_input()?;
        Ok(self.table.push_child(input, &connection)?)
    }

    fn output(&mut self, connection: Resource<Connection>) -> wasmtime::Result<Resource<DynOutputStream>> {
        let output = self.table.get_mut(&connection)?.take_output()?;
        Ok(self.table.push_child(output, &connection)?)
    }

    fn peer(&mut self, connection: Resource<Connection>) -> wasmtime::Result<String> {
        Ok(self.table.get(&connection)?.peer().to_string())
    }

    fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl net::HostConnecting for &mut Guest {
    fn subscribe(&mut self, connecting: Resource<Connecting>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(&mut self.table, connecting)
    }

    fn finish(
        &mut self,
        connecting: Resource<Connecting>,
    ) -> wasmtime::Result<Option<Result<Resource<Connection>, net::Failure>>> {
        match self.table.get_mut(&connecting)?.finish() {
            Some(Ok(connection)) => Ok(Some(Ok(self.table.push(connection)?))),
            Some(Err(failure)) => Ok(Some(Err(failure.into()))),
            None => Ok(None),
        }
    }

    fn drop(&mut self, connecting: Resource<Connecting>) -> wasmtime::Result<()> {
        self.table.delete(connecting)?;
        Ok(())
    }
}

impl net::HostListener for &mut Guest {
    fn subscribe(&mut self, listener: Resource<Listener>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(&mut self.table, listener)
    }

    fn accept(
        &mut self,
        listener: Resource<Listener>,
    ) -> wasmtime::Result<Option<Result<Resource<Connection>, net::Failure>>> {
        match self.table.get_mut(&listener)?.accept() {
            Some(Ok(connection)) => Ok(Some(Ok(self.table.push(connection)?))),
            Some(Err(failure)) => Ok(Some(Err(failure.into()))),
            None => Ok(None),
        }
    }

    fn local(&mut self, listener: Resource<Listener>) -> wasmtime::Result<String> {
        Ok(self.table.get(&listener)?.local().to_string())
    }

    fn drop(&mut self, listener: Resource<Listener>) -> wasmtime::Result<()> {
        self.table.delete(listener)?;
        Ok(())
    }
}
