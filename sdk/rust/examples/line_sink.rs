//! The smallest useful sink: each record is a line to a TCP server.

use ferrule_sdk::prelude::*;

struct LineSink {
    server: TcpStream,
}

#[derive(Deserialize, JsonSchema)]
struct Parameters {
    /// Where to write to, as `host:port`.
    server: String,
}

impl Sink for LineSink {
    type Static = NoParameters;
    type Config = NoParameters;
    type Parameters = Parameters;

    fn about() -> About {
        About::new().capability("tcp", "{server}", "the server that the lines go to")
    }

    fn open(session: Session<NoParameters, NoParameters, Parameters>) -> Result<Self, Error> {
        let server = TcpStream::connect(&session.parameters.server, &session.wait())?;
        Ok(Self { server })
    }

    fn send(&mut self, record: RecordRef<'_>) -> Result<(), Undelivered> {
        self.server.queue(record.payload())?;
        self.server.write_all(b"\n", &Wait::forever())?;
        Ok(())
    }
}

ferrule_sdk::export!(sink: LineSink);
