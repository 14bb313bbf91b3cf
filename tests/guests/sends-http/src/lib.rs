//! Sends an HTTP request through `wasi:http` to the URL authority in its parameters. The host must refuse what was not
//! granted, whatever the request says.

use naughty_connector::wasip2::http::outgoing_handler;
use naughty_connector::wasip2::http::types::{Fields, OutgoingRequest, Scheme};
use naughty_connector::{Error, Naughty, Opened, Session, naughty};

struct SendsHttp;

impl Naughty for SendsHttp {
    fn open(session: Session) -> Result<Opened, Error> {
        let failed = |error: &dyn std::fmt::Debug| Error::Unavailable(format!("{error:?}"));
        let authority = session.parameters.trim_matches('"');
        let request = OutgoingRequest::new(Fields::new());
        let scheme = if session.config == "\"https\"" { Scheme::Https } else { Scheme::Http };
        request.set_scheme(Some(&scheme)).map_err(|()| Error::Failed("scheme".into()))?;
        request.set_authority(Some(authority)).map_err(|()| Error::Failed("authority".into()))?;
        request.set_path_with_query(Some("/path?query")).map_err(|()| Error::Failed("path".into()))?;
        let future = outgoing_handler::handle(request, None).map_err(|error| failed(&error))?;
        let pollable = future.subscribe();
        pollable.block();
        match future.get() {
            Some(Ok(Ok(response))) => {
                Ok(Opened { replayable: false, properties: vec![("status".into(), response.status().to_string())] })
            }
            Some(Ok(Err(error))) => Err(failed(&error)),
            other => Err(failed(&other.is_some())),
        }
    }
}

naughty!(SendsHttp);
