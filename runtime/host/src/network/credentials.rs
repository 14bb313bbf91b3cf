//! What the host puts on an HTTP request after the guest let go of it.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use wasmtime_wasi_http::{Error, WasiBody};

use super::sigv4::{self, Payload};
use super::tls::AttachError;

/// How many bytes of a body are kept to be hashed. Threat: a guest sends bodies without end, and the host keeps them.
const HASHED: usize = 1 << 20;

/// Headers that belong to the connection, or to the request as the guest wrote it.
const NOT_OURS: [&str; 8] =
    ["host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer", "proxy-authorization"];

/// A credential for HTTP.
#[derive(Clone, PartialEq, Eq)]
pub enum Authorization {
    /// `Authorization: Bearer ...`.
    Bearer(String),
    /// `Authorization: Basic ...`.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A header of this name.
    Header {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// AWS Signature Version 4.
    SigV4(Keys),
}

/// The keys that AWS requests are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// Such as `eu-central-1`.
    pub region: String,
    /// Such as `s3`.
    pub service: String,
    /// The access key's id.
    pub access_key: String,
    /// The secret access key.
    pub secret_key: String,
    /// For temporary keys.
    pub session_token: Option<String>,
}

impl fmt::Debug for Authorization {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bearer(_) => "Bearer",
            Self::Basic { .. } => "Basic",
            Self::Header { .. } => "Header",
            Self::SigV4(_) => "SigV4",
        })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("region", &self.region).field("service", &self.service).finish_non_exhaustive()
    }
}

impl Authorization {
    /// Everything in it, to tell two apart.
    pub(super) fn parts(&self) -> Vec<&str> {
        match self {
            Self::Bearer(token) => vec!["bearer", token],
            Self::Basic { user, password } => vec!["basic", user, password],
            Self::Header { name, value } => vec!["header", name, value],
            Self::SigV4(keys) => vec![
                "sigv4",
                &keys.region,
                &keys.service,
                &keys.access_key,
                &keys.secret_key,
                keys.session_token.as_deref().unwrap_or_default(),
            ],
        }
    }
}

/// A credential that is known to make sense.
pub(crate) enum Prepared {
    Header(HeaderName, HeaderValue),
    SigV4(Keys),
}

impl Prepared {
    pub(super) fn new(authorization: Authorization) -> Result<Self, AttachError> {
        let secret = |field, text: String| {
            let mut value = HeaderValue::try_from(text).map_err(|_| {
                AttachError::new(field, "it has characters that cannot stand in a header, such as a line break")
            })?;
            value.set_sensitive(true);
            Ok(value)
        };
        match authorization {
            Authorization::Bearer(token) => {
                Ok(Self::Header(AUTHORIZATION, secret("bearer", format!("Bearer {token}"))?))
            }
            Authorization::Basic { user, password } => {
                if user.contains(':') {
                    return Err(AttachError::new("basic", "a user of HTTP's basic authentication has no `:`"));
                }
                let encoded = base64(format!("{user}:{password}").as_bytes());
                Ok(Self::Header(AUTHORIZATION, secret("basic", format!("Basic {encoded}"))?))
            }
            Authorization::Header { name, value } => {
                let named = HeaderName::try_from(&name)
                    .map_err(|_| AttachError::new("header", format!("`{name:.100}` is no name of a header")))?;
                if NOT_OURS.contains(&named.as_str()) {
                    return Err(AttachError::new(
                        "header",
                        format!("`{named}` belongs to the connection and cannot be attached"),
                    ));
                }
                Ok(Self::Header(named, secret("header", value)?))
            }
            Authorization::SigV4(keys) => {
                secret("sigv4", format!("{}{}{}", keys.access_key, keys.region, keys.service))?;
                secret("sigv4", keys.session_token.clone().unwrap_or_default())?;
                Ok(Self::SigV4(keys))
            }
        }
    }

    /// Puts the credential on a request. One that sets the same itself is refused, because one of the two would go for nothing.
    pub(super) async fn put_on(&self, request: Request<WasiBody>, encrypted: bool) -> Result<Request<WasiBody>, Error> {
        match self {
            Self::Header(name, value) => {
                let mut request = request;
                untouched(&request, &[name.as_str()])?;
                request.headers_mut().insert(name, value.clone());
                Ok(request)
            }
            Self::SigV4(keys) => sign(keys, request, encrypted).await,
        }
    }
}

fn untouched(request: &Request<WasiBody>, names: &[&str]) -> Result<(), Error> {
    match names.iter().find(|name| request.headers().contains_key(**name)) {
        Some(name) => Err(Error::InternalError(Some(format!(
            "the request sets the header `{name}` itself, and the host attaches it for this address; leave it out"
        )))),
        None => Ok(()),
    }
}

async fn sign(keys: &Keys, mut request: Request<WasiBody>, encrypted: bool) -> Result<Request<WasiBody>, Error> {
    untouched(&request, &["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"])?;
    let (whole, body) = gather(std::mem::take(request.body_mut())).await?;
    let payload = match whole {
        Some(content) => Payload::Hashed(sigv4::hash(&content)),
        // Only S3 takes a body that is not signed, and only TLS keeps it whole then.
        None if encrypted && keys.service.starts_with("s3") => Payload::Unsigned,
        None => return Err(Error::HttpRequestBodySize(Some(HASHED as u64))),
    };
    *request.body_mut() = body;
    let stamp = sigv4::Stamp::of(SystemTime::now());
    let insert = |request: &mut Request<WasiBody>, name: &'static str, text: &str| {
        let value = HeaderValue::try_from(text).map_err(|_| Error::ConfigurationError)?;
        request.headers_mut().insert(name, value);
        Ok::<_, Error>(())
    };
    insert(&mut request, "x-amz-date", &stamp.time)?;
    insert(&mut request, "x-amz-content-sha256", payload.text())?;
    if let Some(token) = &keys.session_token {
        insert(&mut request, "x-amz-security-token", token)?;
    }
    let signed = request.headers().iter().filter_map(|(name, value)| {
        let counts = name == HOST || name == CONTENT_TYPE || name.as_str().starts_with("x-amz-");
        counts.then(|| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
    });
    let what = sigv4::What {
        method: request.method().as_str(),
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        headers: signed.collect(),
        payload: &payload,
    };
    let mut authorization =
        HeaderValue::try_from(sigv4::authorization(keys, &stamp, &what)).map_err(|_| Error::ConfigurationError)?;
    authorization.set_sensitive(true);
    request.headers_mut().insert(AUTHORIZATION, authorization);
    Ok(request)
}

/// The whole body if it is small enough, and the body to send.
async fn gather(mut body: WasiBody) -> Result<(Option<Bytes>, WasiBody), Error> {
    let mut read = VecDeque::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            return Err(Error::InternalError(Some("a request that the host signs cannot have trailers".to_owned())));
        };
        length += data.len();
        read.push_back(data);
        if length > HASHED {
            return Ok((None, Continued { read, rest: body }.boxed_unsync()));
        }
    }
    let mut whole = BytesMut::with_capacity(length);
    read.iter().for_each(|part| whole.extend_from_slice(part));
    let whole = whole.freeze();
    Ok((Some(whole.clone()), Full::new(whole).map_err(|never| match never {}).boxed_unsync()))
}

/// A body of which a part was read already.
struct Continued {
    read: VecDeque<Bytes>,
    rest: WasiBody,
}

impl Body for Continued {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.read.pop_front() {
            Some(part) => Poll::Ready(Some(Ok(Frame::data(part)))),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let read: u64 = self.read.iter().map(|part| part.len() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + read);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + read);
        }
        hint
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
