//! AWS Signature Version 4, as far as requests with headers go: pure, from a request's parts to its `Authorization`.
//!
//! Own code, because AWS's crate brings its own HTTP types and some thirty crates; it is held to AWS's published examples.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::SystemTime;

use ring::hmac;
use sha2::{Digest as _, Sha256};

use super::credentials::Keys;

/// The time of a signature.
pub(super) struct Stamp {
    /// `20130524T000000Z`.
    pub(super) time: String,
}

impl Stamp {
    pub(super) fn of(time: SystemTime) -> Self {
        let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Self { time: time.strftime("%Y%m%dT%H%M%SZ").to_string() }
    }

    fn date(&self) -> &str {
        self.time.split('T').next().unwrap_or_default()
    }
}

/// What is signed of the body.
pub(super) enum Payload {
    /// Its hash, in hexadecimal.
    Hashed(String),
    /// Nothing.
    Unsigned,
}

impl Payload {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Hashed(hash) => hash,
            Self::Unsigned => "UNSIGNED-PAYLOAD",
        }
    }
}

/// The parts of a request that are signed.
pub(super) struct What<'a> {
    pub(super) method: &'a str,
    /// As it is sent.
    pub(super) path: &'a str,
    /// As it is sent, without `?`.
    pub(super) query: &'a str,
    /// Names in small letters, `host` among them.
    pub(super) headers: Vec<(&'a str, String)>,
    pub(super) payload: &'a Payload,
}

/// The SHA-256 of bytes, in hexadecimal.
pub(super) fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The value of the header `Authorization`.
pub(super) fn authorization(keys: &Keys, stamp: &Stamp, what: &What<'_>) -> String {
    let mut headers: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in &what.headers {
        let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        headers.entry(name).and_modify(|all| *all = format!("{all},{value}")).or_insert(value);
    }
    let names = headers.keys().copied().collect::<Vec<_>>().join(";");
    let listed: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let is_s3 = keys.service.starts_with("s3");
    let canonical = format!(
        "{}\n{}\n{}\n{listed}\n{names}\n{}",
        what.method,
        path(what.path, is_s3),
        query(what.query),
        what.payload.text()
    );
    let scope = format!("{}/{}/{}/aws4_request", stamp.date(), keys.region, keys.service);
    let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", stamp.time, hash(canonical.as_bytes()));
    let mut key = format!("AWS4{}", keys.secret_key).into_bytes();
    for part in [stamp.date(), &keys.region, &keys.service, "aws4_request"] {
        key = mac(&key, part);
    }
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
        keys.access_key,
        hex(&mac(&key, &text))
    )
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// The path in one spelling. S3 takes it as it is; other services put it straight, and encode it twice.
fn path(path: &str, is_s3: bool) -> String {
    let mut parts: Vec<&str> = path.split('/').skip(1).collect();
    if is_s3 {
        let encoded: Vec<String> = parts.iter().map(|part| encoded(&decoded(part))).collect();
        return format!("/{}", encoded.join("/"));
    }
    let is_folder = matches!(parts.last(), Some(&"" | &"." | &".."));
    let mut straight: Vec<&str> = Vec::new();
    for part in parts.drain(..) {
        match part {
            "" | "." => {}
            ".." => {
                straight.pop();
            }
            part => straight.push(part),
        }
    }
    let mut text: String =
        straight.iter().map(|part| format!("/{}", encoded(encoded(&decoded(part)).as_bytes()))).collect();
    if text.is_empty() || is_folder {
        text.push('/');
    }
    text
}

/// The query in one spelling and order.
fn query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encoded(&decoded(name)), encoded(&decoded(value))))
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(*byte)),
            // Writing to a text does not fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

fn decoded(text: &str) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(keys: &Keys, time: &str, what: &What<'_>) -> String {
        let all = authorization(keys, &Stamp { time: time.to_owned() }, what);
        all.rsplit_once('=').unwrap().1.to_owned()
    }

    /// AWS's test suite `aws-sig-v4-test-suite`.
    fn of_the_suite(method: &str, path: &str, query: &str, more: &[(&'static str, &str)]) -> String {
        let keys = Keys {
            region: "us-east-1".into(),
            service: "service".into(),
            access_key: "AKIDEXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let time = "20150830T123600Z";
        let mut headers = vec![("host", "example.amazonaws.com".to_owned()), ("x-amz-date", time.to_owned())];
        headers.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let payload = Payload::Hashed(hash(b""));
        signature(&keys, time, &What { method, path, query, headers, payload: &payload })
    }

    #[test]
    fn the_suite_of_aws_is_met() {
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        assert_eq!(of_the_suite("GET", "/", "", &[]), vanilla);
        // Paths are put straight: get-relative, get-slash, get-slash-dot-slash.
        for path in ["/example/..", "//", "/./"] {
            assert_eq!(of_the_suite("GET", path, "", &[]), vanilla, "{path}");
        }
        assert_eq!(
            of_the_suite("GET", "/", "Param2=value2&Param1=value1", &[]),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
        );
        assert_eq!(
            of_the_suite("POST", "/", "", &[]),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
    }

    /// The examples of "Authenticating Requests: Using the Authorization Header" in the reference of S3.
    fn of_s3(method: &str, path: &str, query: &str, body: &[u8], more: &[(&'static str, &str)]) -> String {
        let keys = Keys {
            region: "us-east-1".into(),
            service: "s3".into(),
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let time = "20130524T000000Z";
        let payload = Payload::Hashed(hash(body));
        let mut headers = vec![
            ("host", "examplebucket.s3.amazonaws.com".to_owned()),
            ("x-amz-content-sha256", payload.text().to_owned()),
            ("x-amz-date", time.to_owned()),
        ];
        headers.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        signature(&keys, time, &What { method, path, query, headers, payload: &payload })
    }

    #[test]
    fn the_examples_of_s3_are_met() {
        assert_eq!(
            of_s3("GET", "/test.txt", "", b"", &[("range", "bytes=0-9")]),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        assert_eq!(
            of_s3(
                "PUT",
                "/test%24file.text",
                "",
                b"Welcome to Amazon S3.",
                &[("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")]
            ),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        assert_eq!(
            of_s3("GET", "/", "lifecycle", b"", &[]),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            of_s3("GET", "/", "max-keys=2&prefix=J", b"", &[]),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn a_time_is_written_as_aws_wants_it() {
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_369_353_600);
        assert_eq!(Stamp::of(time).time, "20130524T000000Z");
    }
}
