//! What a session is opened with: parameters, direction and abilities, with the test's own port and folder filled in.

use std::net::SocketAddr;

use ferrule_host::World;
use ferrule_model::capability::{self, AbilityKind, Allowance, Rules};
use ferrule_model::component::{Capability, Direction};
use serde_json::{Value, json};

/// What a session is opened with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Which way; none: the only one that the component has.
    pub direction: Option<Direction>,
    /// The instance's static parameters.
    pub static_parameters: Value,
    /// The config at first.
    pub config: Value,
    /// The stream's parameters, or the function's arguments.
    pub parameters: Value,
    /// What was granted besides.
    pub allow: Vec<Allowance>,
    /// The peer's address, which the session may reach.
    pub peer: Option<SocketAddr>,
    /// The test's own folder, which the session may read and write.
    pub folder: Option<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            direction: None,
            static_parameters: json!({}),
            config: json!({}),
            parameters: json!({}),
            allow: Vec::new(),
            peer: None,
            folder: None,
        }
    }
}

impl Setup {
    /// Fills `${port}`, `${peer}` and `${folder}` into text.
    #[must_use]
    pub fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if let Some(peer) = self.peer {
            text = text.replace("${port}", &peer.port().to_string()).replace("${peer}", &peer.to_string());
        }
        match &self.folder {
            Some(folder) => text.replace("${folder}", folder),
            None => text,
        }
    }

    /// Fills all text of a value. A text that is `${port}` and nothing else becomes a number.
    #[must_use]
    pub fn fill_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) if text == "${port}" && self.peer.is_some() => json!(self.peer.map(|p| p.port())),
            Value::String(text) => json!(self.fill(text)),
            Value::Array(items) => Value::Array(items.iter().map(|item| self.fill_value(item)).collect()),
            Value::Object(members) => {
                Value::Object(members.iter().map(|(name, member)| (name.clone(), self.fill_value(member))).collect())
            }
            other => other.clone(),
        }
    }

    /// Static parameters, config and parameters as JSON texts, filled in.
    #[must_use]
    pub fn texts(&self) -> (String, String, String) {
        let text = |value: &Value| self.fill_value(value).to_string();
        (text(&self.static_parameters), text(&self.config), text(&self.parameters))
    }

    /// What the session may do: what the component asks for, as far as it is allowed here; and the peer and the folder.
    #[must_use]
    pub fn rules(&self, asked: &[Capability]) -> Rules {
        let mut allowed = self.allow.clone();
        if let Some(peer) = self.peer {
            let port = peer.port();
            for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}")] {
                allowed.extend([AbilityKind::Tcp, AbilityKind::Http].map(|kind| Allowance::new(kind, host.clone())));
            }
        }
        if let Some(folder) = &self.folder {
            allowed.extend([AbilityKind::Read, AbilityKind::Write].map(|kind| Allowance::new(kind, folder.clone())));
        }
        let (static_parameters, parameters) =
            (self.fill_value(&self.static_parameters), self.fill_value(&self.parameters));
        capability::given(asked, &allowed, &[], &static_parameters, &parameters).rules
    }

    /// The direction that a session of this world takes.
    #[must_use]
    pub fn direction(&self, world: World) -> Direction {
        match world {
            World::Source => Direction::Ingress,
            World::Sink => Direction::Egress,
            World::Function => Direction::Transform,
            World::Connector => self.direction.unwrap_or(Direction::Ingress),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_filled_in_and_granted() {
        let setup = Setup {
            parameters: json!({"broker": "tcp://127.0.0.1:${port}", "port": "${port}", "deep": ["${peer}"]}),
            peer: Some("127.0.0.1:1234".parse().unwrap()),
            ..Setup::default()
        };
        let filled = setup.fill_value(&setup.parameters);
        assert_eq!(filled, json!({"broker": "tcp://127.0.0.1:1234", "port": 1234, "deep": ["127.0.0.1:1234"]}));
        let asked = Capability { kind: "tcp".into(), target: "{broker}".into(), reason: String::new() };
        let allowed: Vec<_> = setup.rules(&[asked]).allowed.iter().map(ToString::to_string).collect();
        assert_eq!(allowed, ["tcp: 127.0.0.1:1234"]);
    }
}
