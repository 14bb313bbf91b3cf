//! Sends an HTTP request through `wasi:http` to the URL authority in its parameters. The host must refuse what was not
//! granted, whatever the request says.

use naughty_connector::wasip2::http::outgoing_handler;
use naughty_connector::wasip2::http::types::{Fields, OutgoingRequest, RequestOptions, Scheme};
use naughty_connector::{Error, Naughty, Opened, Session, naughty};

struct SendsHttp;

impl Naughty for SendsHttp {
    fn open(session: Session) -> Result<Opened, Error> {
        let authority = session.parameters.trim_matches('"');
        let scheme = if session.config == "\"https\"" { Scheme::Https } else { Scheme::Http };
        let mut status = 0;
        for _ in 0..if session.config == "\"often\"" { 100 } else { 1 } {
            status = send(authority, &scheme)?;
        }
        Ok(Opened { replayable: false, properties: vec![("status".into(), status.to_string())] })
    }
}

fn send(authority: &str, scheme: &Scheme) -> Result<u16, Error> {
    let failed = |error: &dyn std::fmt::Debug| Error::Unavailable(format!("{error:?}"));
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(scheme)).map_err(|()| Error::Failed("scheme".into()))?;
    request.set_authority(Some(authority)).map_err(|()| Error::Failed("authority".into()))?;
    request.set_path_with_query(Some("/path?query")).map_err(|()| Error::Failed("path".into()))?;
    let options = RequestOptions::new();
    options.set_connect_timeout(Some(60_000_000_000)).map_err(|()| Error::Failed("options".into()))?;
    let future = outgoing_handler::handle(request, Some(options)).map_err(|error| failed(&error))?;
    let pollable = future.subscribe();
    pollable.block();
    match future.get() {
        Some(Ok(Ok(response))) => Ok(response.status()),
        Some(Ok(Err(error))) => Err(failed(&error)),
        other => Err(failed(&other.is_some())),
    }
}

naughty!(SendsHttp);
