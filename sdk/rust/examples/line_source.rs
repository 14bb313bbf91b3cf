//! The smallest useful source: lines from a TCP server, a record each.

use ferrule_sdk::prelude::*;

struct LineSource {
    server: TcpStream,
}

#[derive(Deserialize, JsonSchema)]
struct Parameters {
    /// Where to read from, as `host:port`.
    server: String,
}

impl Source for LineSource {
    type Static = NoParameters;
    type Config = NoParameters;
    type Parameters = Parameters;

    fn about() -> About {
        About::new().capability("tcp", "{server}", "the server that the lines come from")
    }

    fn open(session: Session<NoParameters, NoParameters, Parameters>) -> Result<Self, Error> {
        let server = TcpStream::connect(&session.parameters.server, &session.wait())?;
        Ok(Self { server })
    }

    fn read(&mut self, wait: &Wait) -> Result<Option<Record<'_>>, Error> {
        Ok(self.server.read_line(wait)?.map(Record::new))
    }
}

ferrule_sdk::export!(source: LineSource);
