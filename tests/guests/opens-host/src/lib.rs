//! Connects in `open` to the host and port of its parameters, and reads what the peer says first. The host must refuse what
//! was not granted, by name and by resolved address, and connect to what was.

use naughty_connector::ferrule::connector::net::{self, Failure};
use naughty_connector::wasip2::io::streams::StreamError;
use naughty_connector::{Error, Naughty, Opened, Session, host_and_port, naughty};

struct OpensHost;

fn told(failure: Failure) -> Error {
    match failure {
        Failure::Denied(text) => Error::Denied(text),
        Failure::UnknownName(text) | Failure::Unreachable(text) => Error::Unavailable(text),
        Failure::Unsupported(text) => Error::Failed(format!("unsupported: {text}")),
        Failure::Invalid(text) => Error::Invalid(text),
    }
}

impl Naughty for OpensHost {
    fn open(session: Session) -> Result<Opened, Error> {
        let (host, port) = host_and_port(&session.parameters);
        let tls = (session.config == "\"tls\"").then(|| net::TlsOptions {
            server_name: None,
            protocols: Vec::new(),
            properties: Vec::new(),
        });
        let connecting = net::connect(&host, port, tls.as_ref()).map_err(told)?;
        let pollable = connecting.subscribe();
        let connection = loop {
            pollable.block();
            if let Some(answer) = connecting.finish() {
                break answer.map_err(told)?;
            }
        };
        let input = connection.input();
        let output = connection.output();
        output.blocking_write_and_flush(b"hello").map_err(|error| Error::Failed(error.to_string()))?;
        let said = match input.blocking_read(1024) {
            Ok(bytes) => bytes,
            Err(StreamError::Closed) => Vec::new(),
            Err(error) => return Err(Error::Failed(error.to_string())),
        };
        let said = String::from_utf8_lossy(&said).into_owned();
        Ok(Opened { replayable: false, properties: vec![("said".into(), format!("\"{said}\""))] })
    }
}

naughty!(OpensHost);
