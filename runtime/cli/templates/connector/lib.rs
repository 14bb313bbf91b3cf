//! {{summary}}

use std::time::Duration;

use ferrule_sdk::log;
use ferrule_sdk::prelude::*;

/// The stream's parameters, the same in both directions. Their JSON Schema is made from this type, comments included.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// The server, as `host:port`.
    address: String,
}

/// What both directions ask for; the operator grants it, or not.
fn about() -> About {
    About::new()
        .capability("tcp", "{address}", "the server to exchange lines with")
        .overlap()
}

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

fn connect(parameters: &Parameters) -> Result<TcpStream, Error> {
    let stream = TcpStream::connect(&parameters.address, &Wait::at_most(CONNECT))?;
    log::info!("connected to {}", stream.peer());
    Ok(stream)
}

/// Takes lines from a server.
struct LineSource {
    stream: TcpStream,
}

impl Source for LineSource {
    type Static = NoParameters;
    type Config = NoParameters;
    type Parameters = Parameters;

    fn about() -> About {
        about()
    }

    fn open(session: Session<NoParameters, NoParameters, Parameters>) -> Result<Self, Error> {
        Ok(Self {
            stream: connect(&session.parameters)?,
        })
    }

    /// Waits for a line no longer than the host allows; half a line is kept for the next call.
    fn read(&mut self, wait: &Wait) -> Result<Option<Record<'_>>, Error> {
        Ok(self.stream.read_line(wait)?.map(Record::new))
    }
}

/// Gives lines to a server.
struct LineSink {
    stream: TcpStream,
}

impl Sink for LineSink {
    type Static = NoParameters;
    type Config = NoParameters;
    type Parameters = Parameters;

    fn about() -> About {
        about()
    }

    fn open(session: Session<NoParameters, NoParameters, Parameters>) -> Result<Self, Error> {
        Ok(Self {
            stream: connect(&session.parameters)?,
        })
    }

    fn send(&mut self, record: RecordRef<'_>) -> Result<(), Undelivered> {
        let line = line(record.payload()).map_err(Undelivered::reject)?;
        // An error here ends the session: the host opens another one and offers the record again.
        self.stream
            .write_all(&line, &Wait::forever())
            .map_err(Error::from)?;
        Ok(())
    }
}

/// A payload as a line.
fn line(payload: &[u8]) -> Result<Vec<u8>, &'static str> {
    if payload.contains(&b'\n') {
        return Err("expected one line");
    }
    Ok([payload, b"\n"].concat())
}

ferrule_sdk::export!(connector: LineSource, LineSink);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_once() {
        assert_eq!(line(b"21.5").unwrap(), b"21.5\n");
        assert!(line(b"one\ntwo").is_err());
    }
}
