//! What a component says of itself, as plain data that mirrors `wit/component.wit`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which way records go through a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the outside world into the platform.
    Ingress,
    /// From the platform to the outside world.
    Egress,
    /// From the platform to the platform.
    Transform,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::Transform => "transform",
        })
    }
}

/// A set of columns, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Columns(u8);

impl Columns {
    /// No column.
    pub const NONE: Self = Self(0);
    /// Contents.
    pub const PAYLOAD: Self = Self(1);
    /// Keys.
    pub const KEY: Self = Self(2);
    /// Headers.
    pub const HEADERS: Self = Self(4);
    /// Event times.
    pub const TIMESTAMPS: Self = Self(8);
    /// Record ids.
    pub const RECORD_IDS: Self = Self(16);
    /// Attempts.
    pub const ATTEMPTS: Self = Self(32);
    /// Every column.
    pub const ALL: Self = Self(63);

    /// Whether all of `other` are in the set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOr for Columns {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

/// A JSON Schema by name: `static`, `config` or `stream`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedSchema {
    /// The name.
    pub name: String,
    /// The schema as a JSON text.
    pub content: String,
}

/// An ability that a component asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Capability {
    /// `tcp`, `http`, `resolve`, `listen`, `read`, `write`, or something this version does not know.
    pub kind: String,
    /// What it is asked for, with templates; see [`crate::capability::fill`].
    pub target: String,
    /// What it is needed for.
    pub reason: String,
}

/// What a component says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The default name of the class or function.
    pub name: String,
    /// A semantic version.
    pub version: String,
    /// One line for a person.
    pub summary: String,
    /// Which ways it can go.
    pub directions: Vec<Direction>,
    /// The schemas of its parameters.
    pub schemas: Vec<NamedSchema>,
    /// What it asks for.
    pub capabilities: Vec<Capability>,
    /// What a sink or a function reads of a record.
    pub reads: Columns,
    /// The routes of a function; empty: one, `default`.
    pub routes: Vec<String>,
    /// Further facts, by name, as JSON texts.
    pub properties: Vec<(String, String)>,
}

impl Description {
    /// The schema called `name`, as a JSON text.
    pub fn schema(&self, name: &str) -> Option<&str> {
        self.schemas.iter().find(|schema| schema.name == name).map(|schema| schema.content.as_str())
    }

    /// The property called `name`, as a JSON text.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Whether the property called `name` is `true`.
    pub fn flag(&self, name: &str) -> bool {
        self.property(name).is_some_and(|value| value.trim() == "true")
    }
}

/// Something wrong with parameters, as `validate` reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `static`, `config` or `stream`.
    pub scope: String,
    /// A JSON Pointer into them.
    pub path: String,
    /// Line and column, from 1, in the text at that path.
    pub position: Option<(u32, u32)>,
    /// What is wrong and what was expected.
    pub message: String,
}
