//! Looks up the name in its parameters. The host must refuse a name that was not granted.

use naughty_connector::ferrule::connector::net::{self, Failure};
use naughty_connector::{Error, Naughty, Opened, Session, naughty};

struct ResolvesName;

impl Naughty for ResolvesName {
    fn open(session: Session) -> Result<Opened, Error> {
        match net::resolve(session.parameters.trim_matches('"')) {
            Ok(addresses) => {
                Ok(Opened { replayable: false, properties: vec![("addresses".into(), format!("{addresses:?}"))] })
            }
            Err(Failure::Denied(text)) => Err(Error::Denied(text)),
            Err(failure) => Err(Error::Unavailable(format!("{failure:?}"))),
        }
    }
}

naughty!(ResolvesName);
