//! Reads how NATS is reached and used from one address, as an operator writes it.

use std::path::PathBuf;

use super::connect::{Credentials, NatsError, NatsOptions};
use super::names::Names;
use crate::log::Durability;

/// The form, for messages.
const FORM: &str = "nats://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...][?OPTION=VALUE&...]";
/// What may stand after the `?`.
const SETTINGS: &str = "prefix, replicas, durable, credentials, roots";
/// Where NATS listens unless told otherwise.
const PORT: u16 = 4222;

/// Whether this is meant as an address of NATS, well-formed or not.
pub fn is_address(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| matches!(scheme, "nats" | "tls"))
}

impl NatsOptions {
    /// Reads `nats://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...][?OPTION=VALUE&...]`; `tls://` for a server that is to prove who it
    /// is. A user alone is a token; what is written as `%` and two hexadecimal digits is that byte. Options: `prefix`, `replicas`,
    /// `durable` (`os`, or `fsync` where every server has `sync_interval: always`), `credentials` (a `.creds` file) and `roots` (a
    /// file of certificates to trust). Nothing is opened or asked here, and no message shows what proves who one is.
    pub fn parse(text: &str, owner: impl Into<String>) -> Result<Self, NatsError> {
        let wrong = |what: String| NatsError::Option(format!("{what}; an address of NATS is written {FORM}"));
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        if !matches!(scheme, "nats" | "tls") {
            return Err(wrong("it does not begin with nats:// or tls://".into()));
        }
        let (secret, rest) = match rest.rsplit_once('@') {
            Some((secret, _)) if secret.contains('?') => {
                return Err(wrong(
                    "it has a ? before an @, so one of them must be written otherwise: ? as %3F, @ as %40".into(),
                ));
            }
            Some((secret, rest)) => (Some(secret), rest),
            None => (None, rest),
        };
        let (hosts, settings) = rest.split_once('?').unwrap_or((rest, ""));
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        let servers = hosts.split(',').map(|host| Ok(format!("{scheme}://{}", place(host).map_err(wrong)?)));
        let mut options = Self::new(String::new(), owner);
        options.servers = servers.collect::<Result<_, NatsError>>()?;
        if let Some(secret) = secret {
            options.credentials = proof(secret).map_err(wrong)?;
        }
        for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
            let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
            let value = decoded(value).ok_or_else(|| wrong(format!("the value of {name} is not text")))?;
            options.set(name, value).map_err(wrong)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "prefix" => {
                Names::new(&value).ok_or_else(|| format!("prefix: {value:?} is not made of letters, digits and _"))?;
                self.prefix = value;
            }
            "replicas" => {
                let replicas = value.parse().ok().filter(|replicas| (1..=5).contains(replicas));
                self.replicas = replicas.ok_or_else(|| format!("replicas: {value:?} is no number from 1 to 5"))?;
            }
            "durable" => {
                self.durable = match value.as_str() {
                    "os" => Durability::System,
                    "fsync" => Durability::Disk,
                    _ => return Err(format!("durable: {value:?} is neither os nor fsync")),
                };
            }
            "credentials" if matches!(self.credentials, Credentials::None) && !value.is_empty() => {
                self.credentials = Credentials::File(value.into());
            }
            "credentials" => return Err("credentials: it names a file, and no user stands before the host".into()),
            "roots" if value.is_empty() => return Err("roots: it names a file".into()),
            "roots" => self.roots.push(PathBuf::from(value)),
            _ => return Err(format!("there is no option {name:?}, there are {SETTINGS}")),
        }
        Ok(())
    }
}

/// A host with its port.
fn place(text: &str) -> Result<String, String> {
    let (host, port) = match (text.strip_prefix('[').and_then(|rest| rest.split_once(']')), text.rsplit_once(':')) {
        (Some((host, "")), _) => (host, None),
        (Some((host, port)), _) => (host, Some(port.strip_prefix(':').unwrap_or(port))),
        (None, Some((host, port))) => (host, Some(port)),
        (None, None) => (text, None),
    };
    let bracketed = text.starts_with('[');
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte) || (bracketed && b":%".contains(&byte));
    if host.is_empty() || !host.bytes().all(plain) {
        return Err(format!("{text:?} is no host with a port"));
    }
    let port = port.map_or(Ok(PORT), |port| port.parse().map_err(|_| format!("{port:?} in {text:?} is no port")))?;
    Ok(if bracketed { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// What stands before the `@`. No message shows it.
fn proof(secret: &str) -> Result<Credentials, String> {
    let text = |part| decoded(part).ok_or_else(|| "what stands before the @ is not text".to_owned());
    match secret.split_once(':') {
        _ if secret.is_empty() => Err("nothing stands before the @".into()),
        Some((user, password)) => Ok(Credentials::Password(text(user)?, text(password)?)),
        None => Ok(Credentials::Token(text(secret)?)),
    }
}

/// With `%` and two hexadecimal digits as the byte that they mean.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> NatsOptions {
        NatsOptions::parse(text, "one").unwrap()
    }

    fn refused(text: &str) -> String {
        NatsOptions::parse(text, "one").unwrap_err().to_string()
    }

    #[test]
    fn an_address_says_who_where_and_how() {
        let plain = read("nats://localhost");
        assert_eq!(
            (plain.servers.as_slice(), plain.prefix.as_str()),
            (&["nats://localhost:4222".to_owned()][..], "ferrule")
        );
        assert!(matches!(plain.credentials, Credentials::None));
        let several = read("tls://a.example:1,[::1]:2,[::1]/?prefix=p_1&replicas=3&durable=fsync&roots=%2Fa%20b");
        assert_eq!(several.servers, ["tls://a.example:1", "tls://[::1]:2", "tls://[::1]:4222"]);
        assert_eq!((several.prefix.as_str(), several.replicas, several.durable), ("p_1", 3, Durability::Disk));
        assert_eq!(several.roots, [PathBuf::from("/a b")]);
        let password = read("nats://us%40er:p%3Aw/%3Fd@h:5").credentials;
        assert!(matches!(&password, Credentials::Password(user, word) if user == "us@er" && word == "p:w/?d"));
        assert!(matches!(read("nats://abc@h").credentials, Credentials::Token(token) if token == "abc"));
        let file = read("nats://h?credentials=a.creds").credentials;
        assert!(matches!(file, Credentials::File(path) if path.ends_with("a.creds")));
    }

    #[test]
    fn what_is_wrong_is_told_and_how_it_is_written() {
        for (text, word) in [
            ("http://h:1", "nats:// or tls://"),
            ("nats://", "no host"),
            ("nats://h:x", "\"x\""),
            ("nats://h:70000", "no port"),
            ("nats://h:1/path", "no port"),
            ("nats://h,,i", "no host"),
            ("nats://::1:4222", "no host"),
            ("nats://h?prefix=a.b", "letters, digits"),
            ("nats://h?replicas=0", "1 to 5"),
            ("nats://h?durable=disk", "os nor fsync"),
            ("nats://h?credentials=", "names a file"),
            ("nats://h?prefx=a", "prefix, replicas"),
            ("nats://h?roots=%zz", "not text"),
            ("nats://h?roots=a@b", "%40"),
        ] {
            let message = refused(text);
            assert!(message.contains(word) && message.contains(FORM), "{text}: {message}");
        }
    }

    #[test]
    fn no_message_and_no_debug_output_has_a_password() {
        for text in [
            "nats://me:secret@h:x",
            "nats://secret@h?nothing=1",
            "nats://me:secret@",
            "http://me:secret@h",
            "nats://%zzsecret@h",
        ] {
            assert!(!refused(text).contains("secret"), "{text}: {}", refused(text));
        }
        let shown = format!("{:?} {:?}", read("nats://me:secret@h"), read("nats://secret@h"));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
