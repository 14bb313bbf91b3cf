//! The envelope that every object travels and is stored in.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::secret::SECRET_API_VERSION;
use crate::{Kind, Ref, Status, Uid};

/// The API group and version of the connector family.
pub const API_VERSION: &str = "connector.ferrule.dev/v1";

/// Kubernetes' ObjectMeta.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// Unique among the objects of the kind in its namespace (a stream's or config's: in its instance; a class's or
    /// function's: with its version).
    pub name: String,
    /// The project's name, where the kind belongs to a project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Unset until the object is stored, unless the caller chose it.
    #[serde(skip_serializing_if = "Uid::is_unset")]
    pub uid: Uid,
    /// Opaque; empty until stored.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// Grows with each change of the spec; 0 until stored.
    #[serde(skip_serializing_if = "is_zero")]
    pub generation: u64,
    /// When it was stored first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<Timestamp>,
    /// For selecting. (The labels of a KPS stream are in its spec.)
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// For people and tools.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// On whose account it exists: it goes when they go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<OwnerReference>,
    /// Who has to do something before it may go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
    /// When its deletion was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Timestamp>,
    /// Kept as given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub managed_fields: Vec<Value>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// On whose account an object exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    /// Of the owner.
    #[serde(default = "api_version")]
    pub api_version: String,
    /// Of the owner.
    pub kind: Kind,
    /// Of the owner.
    pub name: String,
    /// Of the owner; unset while the owner has none.
    #[serde(default, skip_serializing_if = "Uid::is_unset")]
    pub uid: Uid,
    /// Whether the owner looks after it (at most one does).
    #[serde(default)]
    pub controller: bool,
}

fn api_version() -> String {
    API_VERSION.to_owned()
}

/// How the object's document was written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Form {
    /// In this envelope.
    #[default]
    Native,
    /// As KPS publishes it.
    #[serde(rename_all = "camelCase")]
    Kps {
        /// JSON or YAML.
        syntax: Syntax,
        /// The document as it was read: spelling, order and fields that nobody knows included.
        document: Map<String, Value>,
    },
}

impl Form {
    /// Whether the document was a native one.
    pub fn is_native(&self) -> bool {
        matches!(self, Form::Native)
    }
}

/// How a document was written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Syntax {
    /// RFC 8259.
    Json,
    /// YAML 1.2.
    #[default]
    Yaml,
}

/// One object: what somebody wants (`spec`) and what is observed (`status`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// The group and version of its kind.
    #[serde(default = "api_version")]
    pub api_version: String,
    /// What it is.
    pub kind: Kind,
    /// Who it is.
    pub metadata: Metadata,
    /// What is wanted, in the native form of the kind whatever the form of the document; an object. See [`crate::connector`].
    #[serde(default)]
    pub spec: Value,
    /// What is observed.
    #[serde(default, skip_serializing_if = "Status::is_empty")]
    pub status: Status,
    /// The form of its document.
    #[serde(default, skip_serializing_if = "Form::is_native")]
    pub form: Form,
}

/// The spec does not have the form of its kind. Cannot happen to an object from `read_documents`.
#[derive(Debug, thiserror::Error)]
#[error("{kind} `{name}`: the spec is not one of its kind: {source}")]
pub struct SpecError {
    kind: Kind,
    name: String,
    source: serde_json::Error,
}

impl Object {
    /// A native object without status.
    pub fn new(kind: Kind, name: impl Into<String>, spec: impl Serialize) -> Result<Self, SpecError> {
        let name = name.into();
        let spec = match serde_json::to_value(spec) {
            Ok(spec) => spec,
            Err(source) => return Err(SpecError { kind, name, source }),
        };
        Ok(Self {
            api_version: if kind == Kind::Secret { SECRET_API_VERSION.to_owned() } else { api_version() },
            kind,
            metadata: Metadata { name, ..Metadata::default() },
            spec,
            status: Status::default(),
            form: Form::Native,
        })
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// The object's id.
    pub fn uid(&self) -> &Uid {
        &self.metadata.uid
    }

    /// The spec as the type of its kind, such as [`crate::connector::StreamSpec`].
    pub fn typed<T: DeserializeOwned>(&self) -> Result<T, SpecError> {
        T::deserialize(&self.spec).map_err(|source| SpecError {
            kind: self.kind,
            name: self.metadata.name.clone(),
            source,
        })
    }

    /// Puts a typed spec in.
    pub fn set_spec(&mut self, spec: impl Serialize) -> Result<(), SpecError> {
        self.spec = serde_json::to_value(spec).map_err(|source| SpecError {
            kind: self.kind,
            name: self.metadata.name.clone(),
            source,
        })?;
        Ok(())
    }

    /// The version of a class, function or component, if its spec says one.
    pub fn version(&self) -> Option<&str> {
        self.spec.get("version").and_then(Value::as_str)
    }

    /// Whether somebody paused the stream or pipeline.
    pub fn is_paused(&self) -> bool {
        self.spec.get("paused").and_then(Value::as_bool) == Some(true)
    }

    /// The project that the spec refers to, if it does.
    pub fn project_ref(&self) -> Option<Ref> {
        Ref::deserialize(self.spec.get("project")?).ok()
    }

    /// The instance that a stream or config belongs to.
    pub fn instance_ref(&self) -> Option<Ref> {
        Ref::deserialize(self.spec.get("instance")?).ok()
    }

    /// A reference to this object: by id if it has one, else by name.
    pub fn reference(&self) -> Ref {
        if self.metadata.uid.is_unset() { Ref::name(self.name()) } else { Ref::Uid(self.metadata.uid.clone()) }
    }

    /// What an object that exists on account of this one says in `ownerReferences`.
    pub fn as_owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.api_version.clone(),
            kind: self.kind,
            name: self.metadata.name.clone(),
            uid: self.metadata.uid.clone(),
            controller: true,
        }
    }

    /// How to speak of it: `stream hall-1-readings`.
    pub fn title(&self) -> String {
        let noun = self.kind.nouns()[0];
        match self.version() {
            Some(version) if self.kind.is_versioned() => {
                format!("{noun} {}@{version}", self.metadata.name)
            }
            _ => format!("{noun} {}", self.metadata.name),
        }
    }
}
