//! The entries of a grant, as documents write them.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Ability, AbilityKind, TargetError, template};

/// One entry of a grant, as documents write it: `{tcp: "127.0.0.1:1883"}`, `{tcp: "*.example.com:1883"}`,
/// `{tcp: "{broker}"}` (whatever the parameter says), `{read: "/folder"}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Allowance {
    /// What it is for.
    pub kind: AbilityKind,
    /// What it names, templates included.
    pub target: String,
}

impl Allowance {
    /// An entry of this kind and target.
    pub fn new(kind: AbilityKind, target: impl Into<String>) -> Self {
        Self { kind, target: target.into() }
    }

    /// Whether it leaves something to the parameters.
    pub fn is_template(&self) -> bool {
        self.target.contains('{')
    }

    /// Checks how it is written, as far as that can be known without parameters.
    pub fn check(&self) -> Result<(), TargetError> {
        if self.is_template() {
            return template::check(&self.target);
        }
        Ability::parse(self.kind, &self.target).map(|_| ())
    }

    /// The same for an entry that denies: nothing is left to parameters, which others may write.
    pub fn check_denial(&self) -> Result<(), TargetError> {
        if self.is_template() {
            return Err(TargetError::Template(self.target.clone()));
        }
        Ability::parse(self.kind, &self.target).map(|_| ())
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.target)
    }
}

/// `KIND=TARGET`, as command lines and configurations write it.
impl std::str::FromStr for Allowance {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, target) = text.split_once('=').ok_or_else(|| TargetError::UnknownKind(text.to_owned()))?;
        Ok(Self { kind: AbilityKind::parse(kind.trim())?, target: target.trim().to_owned() })
    }
}

impl Serialize for Allowance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.kind.as_str(), &self.target)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Allowance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneMember;

        impl<'de> Visitor<'de> for OneMember {
            type Value = Allowance;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one member, such as {tcp: \"broker.example:1883\"}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (kind, target): (String, String) =
                    map.next_entry()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                if map.next_key::<String>()?.is_some() {
                    return Err(A::Error::invalid_length(2, &self));
                }
                let kind = AbilityKind::parse(&kind).map_err(A::Error::custom)?;
                Ok(Allowance { kind, target })
            }
        }

        deserializer.deserialize_map(OneMember)
    }
}
