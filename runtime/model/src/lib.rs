//! Resource kinds, records, ids, conditions and validation: what the platform is about, without I/O and without async.

pub mod capability;
pub mod check;
pub mod component;
pub mod conditions;
pub mod connector;
pub mod document;
pub mod error;
pub mod ids;
pub mod kind;
pub mod lookup;
pub mod object;
pub mod plain;
pub mod quantity;
pub mod record;
pub mod redact;
pub mod reference;
pub mod schema;
pub mod secret;
pub mod version;

mod shape;

pub use conditions::{Condition, Status, Truth};
pub use error::{Code, Diagnostic, Severity};
pub use ids::Uid;
pub use kind::Kind;
pub use object::{API_VERSION, Form, Metadata, Object, OwnerReference, Syntax};
pub use reference::Ref;
