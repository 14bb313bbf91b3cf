//! The kinds of objects, and every noun that people use for them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Kind {
    /// A KPS project: a namespace.
    Project,
    /// A KPS service domain: a place that streams run in.
    ServiceDomain,
    /// A word with a list of values, for labels.
    Category,
    /// Values that are not shown: passwords, tokens, keys.
    Secret,
    /// A component that is registered.
    Component,
    /// What a class, instance or stream may reach.
    Grant,
    /// A sort of connector.
    Class,
    /// A sort of function.
    Function,
    /// A class with values for its static parameters.
    Instance,
    /// Values that change while an instance runs.
    Config,
    /// One flow of records, in or out.
    Stream,
    /// Records from streams through functions to a stream.
    Pipeline,
}

impl Kind {
    /// All kinds, those before others that refer to them.
    pub const ALL: [Kind; 12] = [
        Kind::Project,
        Kind::ServiceDomain,
        Kind::Category,
        Kind::Secret,
        Kind::Component,
        Kind::Grant,
        Kind::Class,
        Kind::Function,
        Kind::Instance,
        Kind::Config,
        Kind::Stream,
        Kind::Pipeline,
    ];

    /// The kind as written in native documents.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Project => "Project",
            Kind::ServiceDomain => "ServiceDomain",
            Kind::Category => "Category",
            Kind::Secret => "Secret",
            Kind::Component => "Component",
            Kind::Grant => "Grant",
            Kind::Class => "Class",
            Kind::Function => "Function",
            Kind::Instance => "Instance",
            Kind::Config => "Config",
            Kind::Stream => "Stream",
            Kind::Pipeline => "Pipeline",
        }
    }

    /// The word for it on the command line: singular, plural, short.
    pub const fn nouns(self) -> [&'static str; 3] {
        match self {
            Kind::Project => ["project", "projects", "proj"],
            Kind::ServiceDomain => ["servicedomain", "servicedomains", "svcdomain"],
            Kind::Category => ["category", "categories", "cat"],
            Kind::Secret => ["secret", "secrets", "sec"],
            Kind::Component => ["component", "components", "comp"],
            Kind::Grant => ["grant", "grants", "gr"],
            Kind::Class => ["class", "classes", "cc"],
            Kind::Function => ["function", "functions", "fn"],
            Kind::Instance => ["instance", "instances", "ci"],
            Kind::Config => ["config", "configs", "cfg"],
            Kind::Stream => ["stream", "streams", "cs"],
            Kind::Pipeline => ["pipeline", "pipelines", "dp"],
        }
    }

    /// The noun of the `kps` command line.
    pub const fn kps_noun(self) -> Option<&'static str> {
        Some(match self {
            Kind::Project => "project",
            Kind::ServiceDomain => "svcdomain",
            Kind::Category => "category",
            Kind::Class => "connectorclass",
            Kind::Instance => "connectorinstance",
            Kind::Stream => "connectorstream",
            Kind::Config => "connectorconfig",
            Kind::Function => "function",
            Kind::Pipeline => "datapipeline",
            Kind::Secret | Kind::Component | Kind::Grant => return None,
        })
    }

    /// Reads a kind in any of its spellings, whatever the case: native, plural, short, and the nouns of KPS.
    pub fn parse(word: &str) -> Option<Self> {
        let word: String =
            word.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect();
        let find = |word: &str| Kind::ALL.into_iter().find(|kind| kind.nouns().contains(&word));
        find(&word).or_else(|| match word.as_str() {
            "sd" | "svcdomains" | "edge" | "edges" | "node" => Some(Kind::ServiceDomain),
            "pipe" | "pipes" => Some(Kind::Pipeline),
            "func" | "funcs" => Some(Kind::Function),
            "cconf" | "cconfig" => Some(Kind::Config),
            _ => {
                let rest = word.strip_prefix("connector");
                let rest = rest.or_else(|| word.strip_prefix("data").filter(|w| w.starts_with("pipeline")));
                rest.filter(|rest| rest.len() > 3).and_then(find)
            }
        })
    }

    /// Whether objects of this kind belong to a project; the others are there for all.
    pub const fn is_in_project(self) -> bool {
        matches!(self, Kind::Secret | Kind::Function | Kind::Instance | Kind::Config | Kind::Stream | Kind::Pipeline)
    }

    /// Whether a name is unique only within an instance.
    pub const fn is_in_instance(self) -> bool {
        matches!(self, Kind::Stream | Kind::Config)
    }

    /// Whether several versions of one name may exist.
    pub const fn is_versioned(self) -> bool {
        matches!(self, Kind::Class | Kind::Function | Kind::Component)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The word is no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no kind; kinds are project, servicedomain, category, secret, component, grant, class, function, instance, config, stream, pipeline"
)]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Kind::parse(word).ok_or_else(|| UnknownKind(word.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        word.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_noun_is_understood() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.name()), Some(kind));
            for noun in kind.nouns() {
                assert_eq!(Kind::parse(noun), Some(kind), "{noun}");
                assert_eq!(Kind::parse(&noun.to_uppercase()), Some(kind), "{noun}");
            }
            if let Some(noun) = kind.kps_noun() {
                assert_eq!(Kind::parse(noun), Some(kind), "{noun}");
            }
            assert_eq!(serde_json::from_value::<Kind>(serde_json::json!(kind)).unwrap(), kind);
        }
        for (word, kind) in [
            ("connectorclasses", Kind::Class),
            ("ConnectorClass", Kind::Class),
            ("connectorinstances", Kind::Instance),
            ("connector-stream", Kind::Stream),
            ("dataPipeline", Kind::Pipeline),
            ("datapipelines", Kind::Pipeline),
            ("service-domain", Kind::ServiceDomain),
        ] {
            assert_eq!(Kind::parse(word), Some(kind), "{word}");
        }
        for word in ["", "connector", "connectorcc", "data", "datastream", "pod"] {
            assert_eq!(Kind::parse(word), None, "{word}");
        }
    }
}
