//! The parameters of a stream, what is wrong with them, and what they mean.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::packet::{ConnectOptions, Qos, Version};
use crate::topic::{self, Template};

/// Parameters of an MQTT stream. The schema has no room for others; a class of another system may bring a schema of its own that
/// has, and then what is unknown here passes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(deny_unknown_fields)]
pub struct Parameters {
    /// The broker: `mqtt://host:port`, `mqtt://user:password@host:port`, `mqtts://host:port`, or just `host:port`. The port
    /// may be left out: 1883, with TLS 8883.
    pub broker: String,
    /// Sources: the topic filters to subscribe to; `+` stands for one level, `#` at the end for all that follow.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub topics: Option<Vec<String>>,
    /// Sources: the topic filter, if there is only one. Sinks: the topic to publish to, in which `{name}` stands for the value
    /// of the record's header of that name.
    #[serde(default)]
    pub topic: Option<String>,
    /// Another name for `topic`.
    #[serde(default)]
    pub subject: Option<String>,
    /// The quality of service: 0 at most once, 1 at least once, 2 exactly once between client and broker.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 2))]
    pub qos: u8,
    /// Sinks: whether the broker keeps the last message of each topic for later subscribers.
    #[serde(default)]
    pub retain: bool,
    /// The version of MQTT to speak.
    #[serde(default)]
    pub version: ProtocolVersion,
    /// The name to log in with.
    #[serde(default)]
    pub username: Option<String>,
    /// The password to log in with.
    #[serde(default)]
    #[schemars(extend("writeOnly" = true))]
    pub password: Option<String>,
    /// The name of this client, one of its kind at the broker. Without it: one made of the stream's name.
    #[serde(default)]
    #[schemars(length(min = 1, max = 65535))]
    pub client_id: Option<String>,
    /// Sources: true to begin a new session with each connection. The broker then forgets what comes while this stream is
    /// not connected.
    #[serde(default)]
    pub clean_session: bool,
    /// How long the broker keeps the session of a stream that is not connected, in seconds (version 5.0; with 3.1.1 the broker
    /// decides). 4294967295: for ever.
    #[serde(default = "a_week")]
    pub session_expiry: u32,
    /// How often at least the broker hears something, in seconds; 0 for never.
    #[serde(default = "a_minute")]
    pub keep_alive: u16,
    /// Sinks: how many messages may be on their way without an answer. Sources, version 5.0: how many messages the broker may
    /// deliver before they are acknowledged.
    #[serde(default = "a_thousand")]
    #[schemars(range(min = 1))]
    pub max_in_flight: u16,
}

/// Parameters that this component has none of. Its schema says so, and those that a KPS class declares for its container (image
/// tags, log levels) pass all the same.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Unused {}

/// A version of MQTT.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
pub enum ProtocolVersion {
    /// MQTT 3.1.1.
    #[default]
    #[serde(rename = "3.1.1", alias = "3", alias = "4")]
    V3,
    /// MQTT 5.0.
    #[serde(rename = "5.0", alias = "5")]
    V5,
}

fn one() -> u8 {
    1
}

fn a_minute() -> u16 {
    60
}

fn a_week() -> u32 {
    7 * 24 * 60 * 60
}

fn a_thousand() -> u16 {
    1000
}

/// Where the broker is, and who to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether to speak TLS.
    pub tls: bool,
    /// From the URL.
    pub username: Option<String>,
    /// From the URL.
    pub password: Option<String>,
}

impl Broker {
    /// Reads the parameter `broker`.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected `mqtt://host:port`, `mqtts://host:port` or `host:port`";
        let (tls, rest) = match text.split_once("://") {
            None => (false, text),
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            Some((scheme, _)) => return Err(format!("`{scheme}` is no scheme for MQTT; {EXPECTED}")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', ' ']) {
            return Err(format!("more than a host and a port; {EXPECTED}"));
        }
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, rest),
        };
        let (username, password) = match login
            .map(|login| login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password))))
        {
            None => (None, None),
            Some((user, password)) => (Some(percent_decoded(user)?), password.map(percent_decoded).transpose()?),
        };
        let (host, port) = if let Some(bracketed) = address.strip_prefix('[') {
            let (host, rest) = bracketed.split_once(']').ok_or_else(|| format!("a `[` without its `]`; {EXPECTED}"))?;
            (host, rest.strip_prefix(':'))
        } else {
            match address.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err("write an IPv6 address in brackets: `[::1]:1883`".into());
                }
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            }
        };
        if host.is_empty() {
            return Err(format!("the host is missing; {EXPECTED}"));
        }
        let port = match port {
            None if tls => 8883,
            None => 1883,
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(format!("`{port}` is no port; {EXPECTED}, with a port from 1 to 65535")),
            },
        };
        Ok(Self { host: host.to_owned(), port, tls, username, password })
    }
}

fn percent_decoded(text: &str) -> Result<String, String> {
    let error = || "a `%` in the name or password is written `%25`".to_owned();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next().ok_or_else(error)?, rest.next().ok_or_else(error)?];
        let digits = std::str::from_utf8(&digits).map_err(|_| error())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| error())?);
    }
    String::from_utf8(bytes).map_err(|_| "the name or password is not UTF-8 once its `%` are decoded".into())
}

/// Something wrong with a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// A JSON Pointer to it.
    pub path: String,
    /// Line and column in the text there.
    pub position: Option<(u32, u32)>,
    /// What is wrong and what was expected.
    pub message: String,
}

fn wrong(path: impl Into<String>, message: impl Into<String>) -> Wrong {
    Wrong { path: path.into(), position: None, message: message.into() }
}

impl Parameters {
    /// What is wrong for source and sink alike.
    fn problems(&self) -> Vec<Wrong> {
        let mut problems = Vec::new();
        match Broker::parse(&self.broker) {
            Err(message) => problems.push(wrong("/broker", message)),
            Ok(broker) => {
                let has_name = self.username.is_some() || broker.username.is_some();
                let has_password = self.password.is_some() || broker.password.is_some();
                if has_password && !has_name && self.version == ProtocolVersion::V3 {
                    problems.push(wrong("/password", "MQTT 3.1.1 has no password without a `username`"));
                }
            }
        }
        if Qos::from_number(self.qos).is_none() {
            problems.push(wrong("/qos", format!("{} is no quality of service; expected 0, 1 or 2", self.qos)));
        }
        if self.client_id.as_deref() == Some("") {
            problems.push(wrong(
                "/client-id",
                "an empty client id; leave the field out to have one made of the stream's name",
            ));
        }
        if self.max_in_flight == 0 {
            problems.push(wrong("/max-in-flight", "nothing could ever be sent; expected at least 1"));
        }
        if [self.topics.is_some(), self.topic.is_some(), self.subject.is_some()].iter().filter(|given| **given).count()
            > 1
        {
            problems.push(wrong("", "only one of `topics`, `topic` and `subject` may be given"));
        }
        problems
    }

    /// What is wrong for a source.
    pub fn source_problems(&self) -> Vec<Wrong> {
        let mut problems = self.problems();
        if self.retain {
            problems.push(wrong("/retain", "only a sink can have messages retained"));
        }
        match (&self.topics, &self.topic, &self.subject) {
            (None, None, None) => {
                problems.push(wrong("", "no topic; a source needs `topics`, a list of filters, or a `topic`"))
            }
            (Some(filters), ..) if filters.is_empty() => {
                problems.push(wrong("/topics", "an empty list; expected at least one topic filter"));
            }
            _ => {}
        }
        problems
            .extend(self.filters().filter_map(|(path, filter)| Some(wrong(path, topic::check_filter(filter).err()?))));
        problems
    }

    /// What is wrong for a sink.
    pub fn sink_problems(&self) -> Vec<Wrong> {
        let mut problems = self.problems();
        problems.extend(self.template().err());
        problems
    }

    /// The filters of a source, each with its path.
    fn filters(&self) -> impl Iterator<Item = (String, &str)> {
        let listed = self
            .topics
            .iter()
            .flatten()
            .enumerate()
            .map(|(index, filter)| (format!("/topics/{index}"), filter.as_str()));
        let topic = self.topic.iter().map(|filter| ("/topic".to_owned(), filter.as_str()));
        let subject = self.subject.iter().map(|filter| ("/subject".to_owned(), filter.as_str()));
        listed.chain(topic).chain(subject)
    }

    /// The filters of a source.
    pub fn subscriptions(&self) -> Vec<String> {
        self.filters().map(|(_, filter)| filter.to_owned()).collect()
    }

    /// The topic of a sink.
    pub fn template(&self) -> Result<Template, Wrong> {
        let (path, text) = match (&self.topic, &self.subject, self.topics.as_deref()) {
            (Some(text), ..) => ("/topic", text),
            (None, Some(text), _) => ("/subject", text),
            (None, None, Some([text])) => ("/topics/0", text),
            (None, None, Some(_)) => return Err(wrong("/topics", "a sink publishes to one `topic`")),
            (None, None, None) => return Err(wrong("", "no topic; a sink needs a `topic` to publish to")),
        };
        Template::parse(text).map_err(|(column, message)| Wrong {
            path: path.into(),
            position: Some((1, column)),
            message,
        })
    }

    /// The quality of service.
    pub fn quality(&self) -> Qos {
        Qos::from_number(self.qos).unwrap_or_default()
    }

    /// The version to speak.
    pub fn protocol(&self) -> Version {
        match self.version {
            ProtocolVersion::V3 => Version::V3,
            ProtocolVersion::V5 => Version::V5,
        }
    }

    /// Whether the broker keeps the session of a source that is not connected.
    pub fn is_persistent(&self) -> bool {
        !self.clean_session && (self.version == ProtocolVersion::V3 || self.session_expiry > 0)
    }

    /// What to say on connecting, for the stream of that name.
    pub fn connect_options(&self, broker: &Broker, stream: &str) -> ConnectOptions {
        ConnectOptions {
            version: self.protocol(),
            client_id: self.client_id.clone().unwrap_or_else(|| default_client_id(stream)),
            username: self.username.clone().or_else(|| broker.username.clone()),
            password: self.password.clone().or_else(|| broker.password.clone()),
            clean: self.clean_session,
            keep_alive: self.keep_alive,
            session_expiry: if self.clean_session { 0 } else { self.session_expiry },
            receive_maximum: self.max_in_flight,
        }
    }
}

/// A client id of the stream's name, the same whenever the stream runs. Brokers of 3.1.1 need accept no more than 23 letters and
/// digits (section 3.1.3.1), so it keeps what fits of the name and adds a digest.
pub fn default_client_id(stream: &str) -> String {
    let mut id = String::from("fe");
    id.extend(stream.chars().filter(char::is_ascii_alphanumeric).take(8));
    id.push_str(&format!("{:013x}", digest(stream) & 0xf_ffff_ffff_ffff));
    id
}

/// FNV-1a of 64 bits: stable, and enough to tell the streams of a server apart.
pub fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(json: serde_json::Value) -> Parameters {
        serde_json::from_value(json).unwrap()
    }

    fn paths(problems: Vec<Wrong>) -> Vec<String> {
        problems.into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn brokers() {
        let plain = |host: &str, port, tls| Broker { host: host.into(), port, tls, username: None, password: None };
        assert_eq!(Broker::parse("h:1"), Ok(plain("h", 1, false)));
        assert_eq!(Broker::parse("mqtt://h"), Ok(plain("h", 1883, false)));
        assert_eq!(Broker::parse("mqtts://h/"), Ok(plain("h", 8883, true)));
        assert_eq!(Broker::parse("[::1]:2000"), Ok(plain("::1", 2000, false)));
        let login = Broker::parse("mqtt://me:p%40ss:word@h:1").unwrap();
        assert_eq!((login.username.as_deref(), login.password.as_deref()), (Some("me"), Some("p@ss:word")));
        for bad in ["", "http://h", "h:0", "h:x", "h:70000", "::1", "[::1", "mqtt://h/topic", "mqtt://a%@h", ":1883"] {
            assert!(Broker::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        use serde_json::json;
        let source = |json| paths(parameters(json).source_problems());
        let sink = |json| paths(parameters(json).sink_problems());
        let none = [""; 0];
        assert_eq!(source(json!({"broker": "h:1", "topics": ["a/#"]})), none);
        let of_kps = json!({"broker": "mqtt://127.0.0.1:1883", "subject": "hall/1/alarm", "addresses": []});
        assert_eq!(source(of_kps.clone()), none);
        assert_eq!(sink(of_kps), none);
        assert_eq!(
            source(json!({"broker": "h:x", "topics": ["ok", "a#"], "qos": 3})),
            ["/broker", "/qos", "/topics/1"]
        );
        assert_eq!(source(json!({"broker": "h"})), [""]);
        assert_eq!(sink(json!({"broker": "h"})), [""]);
        assert_eq!(source(json!({"broker": "h", "topic": "a", "subject": "b"})), [""]);
        assert_eq!(source(json!({"broker": "h", "topics": []})), ["/topics"]);
        assert_eq!(source(json!({"broker": "h", "topic": "a", "retain": true})), ["/retain"]);
        assert_eq!(source(json!({"broker": "h", "topic": "a/#/b"})), ["/topic"]);
        assert_eq!(sink(json!({"broker": "h", "topic": "a/{site}/b"})), none);
        assert_eq!(sink(json!({"broker": "h", "topics": ["a", "b"]})), ["/topics"]);
        assert_eq!(sink(json!({"broker": "h", "topic": "a", "password": "p"})), ["/password"]);
        assert_eq!(
            sink(json!({"broker": "h", "topic": "a", "client-id": "", "max-in-flight": 0})),
            ["/client-id", "/max-in-flight"]
        );
    }

    #[test]
    fn a_sink_has_no_wildcards() {
        let problem = parameters(serde_json::json!({"broker": "h", "subject": "a/+/b"})).template().unwrap_err();
        assert_eq!((problem.path.as_str(), problem.position), ("/subject", Some((1, 3))));
    }

    #[test]
    fn client_ids_are_stable_distinct_and_acceptable_everywhere() {
        let id = default_client_id("hall-1-readings");
        assert_eq!(id, default_client_id("hall-1-readings"));
        assert_ne!(id, default_client_id("hall-1-reading"));
        assert!(id.len() <= 23 && id.chars().all(|c| c.is_ascii_alphanumeric()), "{id}");
        assert!(id.starts_with("fehall1rea"));
    }
}
