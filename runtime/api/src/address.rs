//! Where a server listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a server listens: `unix:/path`, `https://host:port` or `http://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// TCP, as `host:port`.
    Tcp(String),
    /// TCP with TLS, as `host:port`.
    Tls(String),
}

/// The text is no address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no address of a server; write unix:/path/to/socket, https://host:port or http://host:port")]
pub struct AddressError(pub String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(wrong());
            }
            return Ok(Address::Unix(path.into()));
        }
        let tls = text.strip_prefix("https://");
        if let Some(rest) = tls.or_else(|| text.strip_prefix("http://")) {
            let authority = rest.trim_end_matches('/');
            let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
            if host.is_empty() || authority.contains('/') || port.parse::<u16>().is_err() {
                return Err(wrong());
            }
            let authority = authority.to_owned();
            return Ok(if tls.is_some() { Address::Tls(authority) } else { Address::Tcp(authority) });
        }
        if text.starts_with('/') || text.starts_with("./") {
            return Ok(Address::Unix(text.into()));
        }
        Err(wrong())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Tcp(authority) => write!(f, "http://{authority}"),
            Address::Tls(authority) => write!(f, "https://{authority}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_back() {
        for text in
            ["unix:/run/ferrule.sock", "http://127.0.0.1:7700", "http://[::1]:7700", "https://ferrule.example:7700"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("/run/f.sock".parse::<Address>().unwrap(), Address::Unix("/run/f.sock".into()));
        for text in ["", "unix:", "https://host", "http://host", "host:1", "http://host:1/path"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
