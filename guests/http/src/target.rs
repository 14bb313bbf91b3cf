//! Where requests go, and with which header fields.

use ferrule_sdk::{Error, Problem};

use crate::{Batching, Parameters};

/// A request without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) secure: bool,
    /// `host` or `host:port`.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Target {
    pub(crate) fn new(parameters: &Parameters) -> Result<Self, Error> {
        let (secure, authority, path) = split(&parameters.url)?;
        let mut headers: Vec<_> = (parameters.headers.iter())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone().into_bytes()))
            .collect();
        if !headers.iter().any(|(name, _)| name == "content-type") {
            let content_type = match parameters.batch {
                Batching::Record => "application/octet-stream",
                Batching::Ndjson => "application/x-ndjson",
            };
            headers.push(("content-type".to_owned(), content_type.into()));
        }
        Ok(Self { secure, authority: authority.to_owned(), path, headers })
    }
}

/// What is wrong with the parameters.
pub(crate) fn problems(parameters: &Parameters) -> Vec<Problem> {
    let url = split(&parameters.url).err();
    let headers = parameters.headers.iter().filter(|(name, value)| !is_field(name, value)).map(|(name, _)| {
        let path = format!("/headers/{}", name.replace('~', "~0").replace('/', "~1"));
        Problem::stream(path, "not a header field: a name of letters, digits and hyphens, a value on one line")
    });
    let requests = (parameters.requests == 0).then(|| Problem::stream("/requests", "expected at least 1"));
    let timeout = (parameters.timeout == 0).then(|| Problem::stream("/timeout", "expected at least 1 second"));
    url.into_iter().chain(headers).chain(requests).chain(timeout).collect()
}

fn is_field(name: &str, value: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token) && !value.contains(['\r', '\n', '\0'])
}

/// Scheme, authority, path with query.
fn split(url: &str) -> Result<(bool, &str, String), Problem> {
    let wrong = |what: &str| Problem::stream("/url", format!("`{url}` {what}: expected `http://host[:port]/path`"));
    let (secure, rest) = if let Some(rest) = url.strip_prefix("http://") {
        (false, rest)
    } else if let Some(rest) = url.strip_prefix("https://") {
        (true, rest)
    } else {
        return Err(wrong("begins with neither `http://` nor `https://`"));
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || authority.starts_with(':') {
        return Err(wrong("names no host"));
    }
    if authority.contains('@') {
        return Err(wrong("holds a user or password, which belong into the header field `authorization`"));
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(wrong("has a space in it"));
    }
    Ok((secure, authority, if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(json: &str) -> Parameters {
        ferrule_sdk::serde_json::from_str(json).unwrap()
    }

    #[test]
    fn urls_are_split() {
        assert_eq!(split("http://a.example:8080/x/y?z=1#part"), Ok((false, "a.example:8080", "/x/y?z=1".into())));
        assert_eq!(split("https://a.example"), Ok((true, "a.example", "/".into())));
        assert_eq!(split("http://[::1]:80?q"), Ok((false, "[::1]:80", "/?q".into())));
        for wrong in ["a.example", "ftp://a", "http://", "http:///x", "http://u:p@a/", "http://a/b c", "http://:80/"] {
            assert_eq!(split(wrong).unwrap_err().path, "/url", "{wrong}");
        }
    }

    #[test]
    fn the_content_type_goes_with_the_batching() {
        let of = |json| Target::new(&parameters(json)).unwrap().headers;
        assert_eq!(of(r#"{"url":"http://a"}"#)[0].1, b"application/octet-stream");
        assert_eq!(of(r#"{"url":"http://a","batch":"ndjson"}"#)[0].1, b"application/x-ndjson");
        let own = of(r#"{"url":"http://a","headers":{"Content-Type":"text/plain"}}"#);
        assert_eq!(own, [("content-type".to_owned(), b"text/plain".to_vec())]);
    }

    #[test]
    fn problems_are_named() {
        let wrong = parameters(r#"{"url":"a","headers":{"x y":"1","z":"1\n2"},"requests":0,"timeout":0}"#);
        let paths: Vec<_> = problems(&wrong).into_iter().map(|problem| problem.path).collect();
        assert_eq!(paths, ["/url", "/headers/x y", "/headers/z", "/requests", "/timeout"]);
    }
}
