//! Who may do what over the network: by token or client certificate.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ferrule_api::Error;
use ferrule_api::grpc::Right;
use ferrule_model::{Code, Diagnostic};
use sha2::{Digest as _, Sha256};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::error::StartError;
use crate::options::{Guarded, Listen};

/// A token that is shorter can be found by trying.
const SHORTEST_TOKEN: usize = 16;

/// What is checked when somebody calls over the network.
#[derive(Debug, Default)]
pub(crate) enum Guard {
    /// Nothing: whoever can connect may do everything.
    #[default]
    Open,
    /// What came with the call stands in a list.
    List(Vec<Entry>),
}

/// Somebody who may do something.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    right: Right,
    proof: Proof,
}

/// By the SHA-256, so that comparing takes the same time whatever is wrong, and no token stays in memory.
#[derive(Debug, PartialEq, Eq)]
enum Proof {
    Token([u8; 32]),
    Certificate([u8; 32]),
}

/// The guard of a listener and its TLS; refuses one that would be open to others by mistake.
pub(crate) fn of(listen: &Listen) -> Result<(Guard, Option<ServerTlsConfig>), StartError> {
    match &listen.guard {
        None if listen.open => {
            tracing::warn!(address = %listen.address, "anybody who can reach this address controls this server");
            Ok((Guard::Open, None))
        }
        None if listen.address.ip().is_loopback() => {
            tracing::warn!(address = %listen.address, "every process of this machine controls this server");
            Ok((Guard::Open, None))
        }
        None => Err(StartError::OpenToAll { address: listen.address }),
        Some(files) => {
            let guard = Guard::List(entries(&files.access)?);
            Ok((guard, Some(tls(files)?)))
        }
    }
}

fn wrong(path: &Path, detail: impl Into<String>) -> StartError {
    StartError::Guard { path: path.to_owned(), detail: detail.into() }
}

fn read(path: &Path) -> Result<Vec<u8>, StartError> {
    fs::read(path).map_err(|error: io::Error| wrong(path, format!("it cannot be read: {error}")))
}

fn tls(files: &Guarded) -> Result<ServerTlsConfig, StartError> {
    let (certificate, key) = (read(&files.certificate)?, read(&files.key)?);
    // Checked here, because tonic says only that something failed.
    for (path, text, begin) in
        [(&files.certificate, &certificate, "CERTIFICATE-----"), (&files.key, &key, "PRIVATE KEY-----")]
    {
        if !String::from_utf8_lossy(text).contains(begin) {
            return Err(wrong(path, format!("expected PEM with a line `-----BEGIN ...{begin}`")));
        }
    }
    let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
    match &files.client_authorities {
        Some(path) => Ok(tls.client_ca_root(Certificate::from_pem(read(path)?)).client_auth_optional(true)),
        None => Ok(tls),
    }
}

fn entries(path: &Path) -> Result<Vec<Entry>, StartError> {
    let mode =
        fs::metadata(path).map_err(|error| wrong(path, format!("it cannot be read: {error}")))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(wrong(path, format!("others can read the tokens in it: run `chmod 600 {}`", path.display())));
    }
    let text = String::from_utf8(read(path)?).map_err(|_| wrong(path, "it is not UTF-8"))?;
    let entries = parse(&text).map_err(|detail| wrong(path, detail))?;
    if entries.is_empty() {
        return Err(wrong(
            path,
            "nobody stands in it, so nobody could come in; expected lines such as `write token TOKEN`",
        ));
    }
    Ok(entries)
}

/// No message repeats a token.
fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let at = |what: &str| format!("line {}: {what}", number + 1);
        let words: Vec<&str> = line.split_whitespace().collect();
        let (role, kind, value) = match words.as_slice() {
            [] => continue,
            [first, ..] if first.starts_with('#') => continue,
            [role, kind, value] => (*role, *kind, *value),
            _ => return Err(at("expected three words: a role, `token` or `cert`, and the token or fingerprint")),
        };
        let right = match role {
            "read" => Right::Read,
            "write" => Right::Write,
            _ => return Err(at("there is no such role; there are `read` and `write`")),
        };
        let proof = match kind {
            "token" if value.len() < SHORTEST_TOKEN => {
                return Err(at("the token is shorter than 16 characters; `openssl rand -hex 24` makes one"));
            }
            "token" => Proof::Token(Sha256::digest(value).into()),
            "cert" => Proof::Certificate(fingerprint(value).ok_or_else(|| {
                at("expected a SHA-256 fingerprint of 64 digits, as `openssl x509 -noout -fingerprint -sha256` prints it")
            })?),
            _ => return Err(at("expected `token` or `cert` as the second word")),
        };
        entries.push(Entry { right, proof });
    }
    Ok(entries)
}

fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

impl Guard {
    /// Whether whoever has these may do what needs this right.
    pub(crate) fn check(&self, token: Option<&str>, certificate: Option<&[u8]>, right: Right) -> Result<(), Error> {
        let Self::List(entries) = self else { return Ok(()) };
        let proofs = [
            token.map(|token| Proof::Token(Sha256::digest(token).into())),
            certificate.map(|certificate| Proof::Certificate(Sha256::digest(certificate).into())),
        ];
        let is_proved = |entry: &&Entry| proofs.iter().flatten().any(|proof| *proof == entry.proof);
        let refused =
            |text: String, help: &str| Err(Error::refused(Diagnostic::new(Code::AccessDenied, text).help(help)));
        match (entries.iter().filter(is_proved).map(|entry| entry.right).max(), token, certificate) {
            (Some(has), ..) if has >= right => Ok(()),
            (Some(_), ..) => refused(
                "whoever calls with this may only read, and this changes something or has something run".to_owned(),
                "use a token or certificate with the role `write`",
            ),
            (None, Some(_), _) => refused(
                "the server does not know this token".to_owned(),
                "it must stand in the server's file --access, and the server reads that when it starts",
            ),
            (None, None, Some(certificate)) => {
                let digest: [u8; 32] = Sha256::digest(certificate).into();
                let shown: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
                refused(
                    format!("the server does not know this certificate, with the fingerprint {}", shown.join(":")),
                    "add a line `read cert FINGERPRINT` to the server's file --access, and start it again",
                )
            }
            (None, None, None) => refused(
                "the server wants to know who is calling, and neither a token nor a certificate came with the call"
                    .to_owned(),
                "give a token with --token-file FILE or FERRULE_TOKEN_FILE, or a certificate with --cert and --key",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITER: &str = "a-token-that-may-write";
    const READER: &str = "a-token-that-may-read";

    #[test]
    fn roles_are_by_token_and_certificate() {
        let digest: [u8; 32] = Sha256::digest(b"certificate").into();
        let print = digest.map(|byte| format!("{byte:02X}")).join(":");
        let text = format!("# who may\n\nwrite token {WRITER}\nread\ttoken {READER}\nread cert {print}\n");
        let guard = Guard::List(parse(&text).unwrap());
        let may = |token, certificate, right| guard.check(token, certificate, right).is_ok();
        assert!(may(Some(WRITER), None, Right::Read) && may(Some(WRITER), None, Right::Write));
        assert!(may(Some(READER), None, Right::Read) && !may(Some(READER), None, Right::Write));
        assert!(may(None, Some(b"certificate"), Right::Read) && !may(None, Some(b"certificate"), Right::Write));
        assert!(!may(None, Some(b"another"), Right::Read) && !may(None, None, Right::Read));
        // The better of the two counts, and one that is wrong takes nothing away.
        assert!(
            may(Some(WRITER), Some(b"certificate"), Right::Write)
                && may(Some("wrong"), Some(b"certificate"), Right::Read)
        );
        let error = guard.check(Some("a-wrong-token"), None, Right::Read).unwrap_err();
        assert!(!format!("{error:?}").contains("a-wrong-token"));
        assert!(Guard::Open.check(None, None, Right::Write).is_ok());
    }

    #[test]
    fn what_is_wrong_in_the_file_is_told_without_tokens() {
        for (text, words) in [
            ("write token", "three words"),
            ("admin token canary-canary-canary", "there is no such role"),
            ("write token canary", "shorter than 16"),
            ("read cert canary", "64 digits"),
            ("\nread key canary", "line 2: expected `token` or `cert`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words) && !error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn a_server_is_not_open_to_all_by_mistake() {
        let listen = |address: &str, open| Listen { address: address.parse().unwrap(), guard: None, open };
        assert!(of(&listen("127.0.0.1:0", false)).is_ok() && of(&listen("0.0.0.0:0", true)).is_ok());
        for address in ["0.0.0.0:7000", "192.0.2.1:7000", "[::]:7000"] {
            let error = of(&listen(address, false)).unwrap_err().to_string();
            assert!(
                error.contains("--tls-cert") && error.contains("--let-anyone-on-the-network-control-this-server"),
                "{error}"
            );
        }
    }
}
