//! One request and its answer, over `wasi:http`.

use std::time::Duration;

use ferrule_sdk::wasip2::http::outgoing_handler;
use ferrule_sdk::wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions,
    Scheme,
};
use ferrule_sdk::wasip2::io::poll::Pollable;
use ferrule_sdk::wasip2::io::streams::OutputStream;
use ferrule_sdk::{Ended, Wait};

use crate::ID_HEADER;
use crate::target::Target;
use crate::verdict::Answer;

/// A request on its way.
pub(crate) struct Exchange {
    // Dropped before what it belongs to.
    ready: Pollable,
    response: FutureIncomingResponse,
}

/// Why a request is not on its way.
pub(crate) enum Stopped {
    /// The host wants the call back, and the request was not sent whole.
    Wait,
    /// It ended already.
    Answer(Answer),
}

impl From<Answer> for Stopped {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

fn broken(what: &str) -> Answer {
    Answer::Broken(what.to_owned())
}

impl Exchange {
    pub(crate) fn start(
        target: &Target,
        id: Option<&[u8]>,
        body: &[u8],
        timeout: Duration,
        wait: &Wait,
    ) -> Result<Self, Stopped> {
        let mut headers = target.headers.clone();
        headers.push(("content-length".to_owned(), body.len().to_string().into_bytes()));
        headers.extend(id.map(|id| (ID_HEADER.to_owned(), id.to_vec())));
        let headers = Fields::from_list(&headers).map_err(|error| broken(&format!("header fields: {error:?}")))?;
        let request = OutgoingRequest::new(headers);
        let scheme = if target.secure { Scheme::Https } else { Scheme::Http };
        request.set_method(&Method::Post).map_err(|()| broken("the method was refused"))?;
        request.set_scheme(Some(&scheme)).map_err(|()| broken("the scheme was refused"))?;
        request.set_authority(Some(&target.authority)).map_err(|()| broken("the host was refused"))?;
        request.set_path_with_query(Some(&target.path)).map_err(|()| broken("the path was refused"))?;
        let options = RequestOptions::new();
        // A host that cannot bound these leaves it to the deadline kept here.
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let _ = options.set_connect_timeout(Some(nanoseconds));
        let _ = options.set_first_byte_timeout(Some(nanoseconds));

        let outgoing = request.body().map_err(|()| broken("the body was refused"))?;
        let response = outgoing_handler::handle(request, Some(options)).map_err(|error| answer_to(&error))?;
        let exchange = Self { ready: response.subscribe(), response };
        {
            let stream = outgoing.write().map_err(|()| broken("the body was refused"))?;
            match write(&stream, body, wait) {
                Ok(true) => {}
                Ok(false) => return Err(Stopped::Wait),
                // The answer, once it comes, says more than that the body was not taken.
                Err(what) => return exchange.answer().map_or(Err(broken(&what).into()), |answer| Err(answer.into())),
            }
        }
        OutgoingBody::finish(outgoing, None).map_err(|error| answer_to(&error))?;
        Ok(exchange)
    }

    /// Ready when there is an answer.
    pub(crate) fn ready(&self) -> &Pollable {
        &self.ready
    }

    /// The answer, if there is one.
    pub(crate) fn answer(&self) -> Option<Answer> {
        Some(match self.response.get()? {
            Ok(Ok(response)) => Answer::Status(response.status(), retry_after(&response)),
            Ok(Err(error)) => answer_to(&error),
            Err(()) => broken("the answer was taken already"),
        })
    }
}

fn retry_after(response: &IncomingResponse) -> Option<String> {
    let value = response.headers().get("retry-after").into_iter().next()?;
    String::from_utf8(value).ok()
}

/// Writes all bytes; false if the host wants the call back first.
fn write(stream: &OutputStream, mut bytes: &[u8], wait: &Wait) -> Result<bool, String> {
    let ready = stream.subscribe();
    while !bytes.is_empty() {
        let room = stream.check_write().map_err(|error| error.to_string())?;
        if room == 0 {
            if wait.on(&[&ready]) != Ended::Ready {
                return Ok(false);
            }
            continue;
        }
        let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
        stream.write(now).map_err(|error| error.to_string())?;
        bytes = later;
    }
    Ok(true)
}

fn answer_to(error: &ErrorCode) -> Answer {
    match error {
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => {
            Answer::Denied("the host does not allow requests to `url`".to_owned())
        }
        other => Answer::Broken(format!("the request did not get through: {}", name(other))),
    }
}

/// `ErrorCode::ConnectionRefused` as `connection refused`.
fn name(error: &ErrorCode) -> String {
    let debug = format!("{error:?}");
    let short = debug.strip_prefix("ErrorCode::").unwrap_or(&debug);
    let (camel, rest) = short.split_at(short.find('(').unwrap_or(short.len()));
    let mut words = String::new();
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words + if rest == "(None)" { "" } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_well() {
        assert_eq!(name(&ErrorCode::ConnectionRefused), "connection refused");
        assert_eq!(name(&ErrorCode::InternalError(None)), "internal error");
        assert!(matches!(answer_to(&ErrorCode::HttpRequestDenied), Answer::Denied(_)));
        assert!(matches!(answer_to(&ErrorCode::DnsTimeout), Answer::Broken(why) if why.ends_with("dns timeout")));
    }
}
