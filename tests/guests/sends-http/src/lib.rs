//! Sends an HTTP request through `wasi:http` to the URL authority in its parameters. The host must refuse what was not
//! granted, whatever the request says.
//!
//! Words of its config: `https`; `often`, for a hundred requests; `header`, to set `authorization` itself; `body=N`, to send N bytes.

use naughty_connector::wasip2::http::outgoing_handler;
use naughty_connector::wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme};
use naughty_connector::{Error, Naughty, Opened, Session, naughty};

struct SendsHttp;

impl Naughty for SendsHttp {
    fn open(session: Session) -> Result<Opened, Error> {
        let authority = session.parameters.trim_matches('"');
        let words: Vec<&str> = session.config.trim_matches('"').split(' ').collect();
        let mut status = 0;
        for _ in 0..if words.contains(&"often") { 100 } else { 1 } {
            status = send(authority, &words)?;
        }
        Ok(Opened { replayable: false, properties: vec![("status".into(), status.to_string())] })
    }
}

fn send(authority: &str, words: &[&str]) -> Result<u16, Error> {
    let failed = |error: &dyn std::fmt::Debug| Error::Unavailable(format!("{error:?}"));
    let fields = Fields::new();
    if words.contains(&"header") {
        fields.append("authorization", b"Bearer its-own").map_err(|error| failed(&error))?;
    }
    let request = OutgoingRequest::new(fields);
    let scheme = if words.contains(&"https") { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).map_err(|()| Error::Failed("scheme".into()))?;
    request.set_authority(Some(authority)).map_err(|()| Error::Failed("authority".into()))?;
    request.set_path_with_query(Some("/path?query")).map_err(|()| Error::Failed("path".into()))?;
    let length = words.iter().find_map(|word| word.strip_prefix("body=")?.parse().ok());
    let body = match length {
        None => None,
        Some(length) => {
            request.set_method(&Method::Post).map_err(|()| Error::Failed("method".into()))?;
            let body = request.body().map_err(|()| Error::Failed("body".into()))?;
            Some((body, vec![b'x'; length]))
        }
    };
    let options = RequestOptions::new();
    options.set_connect_timeout(Some(60_000_000_000)).map_err(|()| Error::Failed("options".into()))?;
    let future = outgoing_handler::handle(request, Some(options)).map_err(|error| failed(&error))?;
    if let Some((body, content)) = body {
        let stream = body.write().map_err(|()| Error::Failed("stream".into()))?;
        // A host that wants no more says why in its answer.
        let written = content.chunks(4096).try_for_each(|part| stream.blocking_write_and_flush(part));
        drop(stream);
        if written.is_ok() {
            OutgoingBody::finish(body, None).map_err(|error| failed(&error))?;
        }
    }
    let pollable = future.subscribe();
    pollable.block();
    match future.get() {
        Some(Ok(Ok(response))) => Ok(response.status()),
        Some(Ok(Err(error))) => Err(failed(&error)),
        other => Err(failed(&other.is_some())),
    }
}

naughty!(SendsHttp);
