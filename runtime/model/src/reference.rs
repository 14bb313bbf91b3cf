//! How one object names another: by uid, or by name with what makes the name unique.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Uid;

/// A reference to an object of a kind that the field says.
///
/// Written as text: `name`, `name@version` (classes and functions), `parent/name` (a stream or config within its instance),
/// or a UUID. Written as an object: `{uid: ...}` or `{name: ..., version: ..., in: ...}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ref {
    /// By id, whatever its name.
    Uid(Uid),
    /// By name.
    Name {
        /// The instance that the stream or config belongs to.
        parent: Option<String>,
        /// Its name.
        name: String,
        /// Its version.
        version: Option<String>,
    },
}

impl Ref {
    /// A reference by name alone.
    pub fn name(name: impl Into<String>) -> Self {
        Ref::Name { parent: None, name: name.into(), version: None }
    }

    /// A reference by id.
    pub fn uid(uid: impl Into<Uid>) -> Self {
        Ref::Uid(uid.into())
    }

    /// Reads the text form. Text in the form of a UUID is an id.
    pub fn parse(text: &str) -> Self {
        if text.len() == 36 && uuid::Uuid::try_parse(text).is_ok() {
            return Ref::uid(text);
        }
        let (parent, rest) = match text.split_once('/') {
            Some((parent, rest)) => (Some(parent.to_owned()), rest),
            None => (None, text),
        };
        let (name, version) = match rest.split_once('@') {
            Some((name, version)) if !name.is_empty() => (name, Some(version.to_owned())),
            _ => (rest, None),
        };
        Ref::Name { parent, name: name.to_owned(), version }
    }
}

impl fmt::Display for Ref {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ref::Uid(uid) => write!(f, "{uid}"),
            Ref::Name { parent, name, version } => {
                if let Some(parent) = parent {
                    write!(f, "{parent}/")?;
                }
                write!(f, "{name}")?;
                if let Some(version) = version {
                    write!(f, "@{version}")?;
                }
                Ok(())
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uid: Option<Uid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Parts(Parts),
}

impl Serialize for Ref {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Text only where it reads back as the same reference.
        let text = self.to_string();
        if Ref::parse(&text) == *self {
            return serializer.serialize_str(&text);
        }
        match self.clone() {
            Ref::Uid(uid) => Parts { uid: Some(uid), name: None, version: None, parent: None },
            Ref::Name { parent, name, version } => Parts { uid: None, name: Some(name), version, parent },
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Ref {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Text(text) if text.is_empty() => Err(de::Error::custom("an empty reference")),
            Written::Text(text) => Ok(Ref::parse(&text)),
            Written::Parts(Parts { uid: Some(uid), .. }) => Ok(Ref::Uid(uid)),
            Written::Parts(Parts { name: Some(name), version, parent, .. }) => Ok(Ref::Name { parent, name, version }),
            Written::Parts(_) => Err(de::Error::custom("a reference needs a name or a uid")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written() {
        for text in ["mqtt", "mqtt@1.2.0", "hall/alarms", "6f1c1b52-3d0e-4b5e-9d5a-0d8f6a5d1a03"] {
            let reference = Ref::parse(text);
            assert_eq!(reference.to_string(), text);
            assert_eq!(serde_json::to_value(&reference).unwrap(), text);
        }
        assert!(matches!(Ref::parse("6f1c1b52-3d0e-4b5e-9d5a-0d8f6a5d1a03"), Ref::Uid(_)));
        for odd in
            [Ref::uid("tenant-cat-data-type"), Ref::name("6f1c1b52-3d0e-4b5e-9d5a-0d8f6a5d1a03"), Ref::name("a/b")]
        {
            let json = serde_json::to_value(&odd).unwrap();
            assert!(json.is_object(), "{json}");
            assert_eq!(serde_json::from_value::<Ref>(json).unwrap(), odd);
        }
        assert!(serde_json::from_str::<Ref>("{}").is_err());
    }
}
