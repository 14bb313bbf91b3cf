//! A source that does what it should: waits on its socket and on the wake-up, whichever comes first. The host must be able to
//! settle, configure and close while the socket is silent.

use naughty_connector::ferrule::connector::net::{self, Connection};
use naughty_connector::ferrule::connector::wakeup;
use naughty_connector::wasip2::io::poll::poll;
use naughty_connector::wasip2::io::streams::{InputStream, StreamError};
use naughty_connector::{
    Configured, Error, Limits, Naughty, Opened, Pulled, Session, batch, empty, host_and_port, naughty,
};
use std::cell::RefCell;

struct Open {
    input: InputStream,
    _connection: Connection,
    settled: usize,
}

thread_local! {
    static OPEN: RefCell<Option<Open>> = const { RefCell::new(None) };
}

struct WaitsOnSocket;

impl Naughty for WaitsOnSocket {
    fn open(session: Session) -> Result<Opened, Error> {
        let (host, port) = host_and_port(&session.parameters);
        let connecting =
            net::connect(&host, port, None).map_err(|failure| Error::Unavailable(format!("{failure:?}")))?;
        let wake = wakeup::subscribe();
        let connection = loop {
            let ready = poll(&[&connecting.subscribe(), &wake]);
            if let Some(answer) = connecting.finish() {
                break answer.map_err(|failure| Error::Unavailable(format!("{failure:?}")))?;
            }
            if ready.contains(&1) {
                return Err(Error::Unavailable("asked to return while connecting".into()));
            }
        };
        let input = connection.input();
        OPEN.set(Some(Open { input, _connection: connection, settled: 0 }));
        Ok(Opened { replayable: true, properties: Vec::new() })
    }

    fn configure(_config: String) -> Result<Configured, Error> {
        Ok(Configured::Reopen)
    }

    fn close() -> Result<(), Error> {
        OPEN.with_borrow_mut(Option::take).map(|_| ()).ok_or_else(|| Error::Failed("not open".into()))
    }

    fn next(_limits: Limits) -> Result<Pulled, Error> {
        OPEN.with_borrow(|open| {
            let open = open.as_ref().ok_or_else(|| Error::Failed("not open".into()))?;
            let wake = wakeup::subscribe();
            poll(&[&open.input.subscribe(), &wake]);
            let records = match open.input.read(1024) {
                Ok(bytes) if bytes.is_empty() => empty(),
                Ok(bytes) => batch(&[&bytes]),
                Err(StreamError::Closed) => return Err(Error::Unavailable("the peer closed".into())),
                Err(error) => return Err(Error::Unavailable(error.to_string())),
            };
            Ok(Pulled { records, position: Some(open.settled.to_string().into_bytes()) })
        })
    }

    fn settle(tokens: Vec<u64>) -> Result<(), Error> {
        OPEN.with_borrow_mut(|open| {
            let open = open.as_mut().ok_or_else(|| Error::Failed("not open".into()))?;
            open.settled += tokens.len();
            Ok(())
        })
    }
}

naughty!(WaitsOnSocket);
