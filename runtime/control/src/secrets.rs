//! Secrets opened for those who may have them.
//!
//! [`reveal`] turns a reference that a document makes into a value: this is the one place where that is done, and everybody who needs
//! a secret, guests and the host alike, gets it from here.

mod vault;

use std::fmt;
use std::sync::Arc;

use ferrule_model::capability::{AbilityKind, Given, Target};
use ferrule_model::connector::Values;
use ferrule_model::lookup::{self, Lookup, Resolution};
use ferrule_model::secret::{self, Filled, Known, SecretRef, SecretSpec};
use ferrule_model::{Code, Kind, Object, Ref};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

pub use vault::{BadKey, Vault, VaultError};

use crate::finding::Problem;
use crate::snapshot::LATER;

/// The value of one key of a secret. It is wiped from memory when it is dropped, and `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Revealed {
    bytes: Arc<Zeroizing<Vec<u8>>>,
    version: String,
}

impl Revealed {
    /// The value.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The value, if it is text.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// Changes when the value does, and tells nothing of it: for whatever has to be done again then.
    pub fn version(&self) -> &str {
        &self.version
    }
}

impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revealed({} bytes)", self.bytes.len())
    }
}

/// Opens what a reference in the document of `asker` stands for: a secret of its project, else one of no project. That something is
/// not there is a problem that mends itself when it comes.
pub fn reveal(lookup: &dyn Lookup, vault: &Vault, asker: &Object, reference: &SecretRef) -> Result<Revealed, Problem> {
    let SecretRef { secret: name, key } = reference;
    let missing = |message| Err(Problem::new("SecretMissing", Code::Unresolved, message));
    let object = match lookup::resolve(lookup, Kind::Secret, &Ref::name(name), Some(asker)) {
        Resolution::Found(object) if object.metadata.deletion_timestamp.is_none() => object,
        Resolution::Ambiguous(_) => {
            let message = format!("`{name}` is the name of several secrets; delete all but one");
            return Err(Problem::new("Ambiguous", Code::Ambiguous, message));
        }
        Resolution::Found(_) | Resolution::Missing => {
            return missing(format!("there is no secret `{name}`{LATER}"));
        }
    };
    let spec: SecretSpec = crate::snapshot::spec(&object)?;
    let Some(sealed) = spec.data.get(key) else {
        let keys: Vec<&str> = spec.data.keys().map(String::as_str).collect();
        let has = if keys.is_empty() { "no key at all".to_owned() } else { keys.join(", ") };
        return missing(format!("secret `{name}` has no key `{key}`, but {has}; write it into its document"));
    };
    let bytes = open(vault, &object, key, sealed)?;
    Ok(Revealed { bytes: Arc::new(bytes), version: version(sealed) })
}

/// Opens one value of a secret.
pub fn open(vault: &Vault, object: &Object, key: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    vault.open(object.uid(), key, sealed).map_err(|error| {
        let message = format!(
            "the value `{key}` of secret `{}` cannot be opened: {error}. Put the key back that it was sealed with and start \
             the server again, or apply the secret again with its values",
            object.name()
        );
        Problem::new("SecretUnreadable", Code::SecretUnreadable, message)
    })
}

/// What is wrong with the values of a secret, if anything is.
pub(crate) fn check(vault: &Vault, object: &Object) -> Result<(), Problem> {
    let spec: SecretSpec = crate::snapshot::spec(object)?;
    spec.data.iter().try_for_each(|(key, sealed)| open(vault, object, key, sealed).map(drop))
}

fn version(sealed: &str) -> String {
    let digest = Sha256::digest(sealed);
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The value of a reference as a parameter takes it.
pub fn known(lookup: &dyn Lookup, vault: &Vault, asker: &Object, reference: &SecretRef) -> Result<Known, Problem> {
    let revealed = reveal(lookup, vault, asker, reference)?;
    let Some(text) = revealed.text() else {
        let message = format!("{reference} is not UTF-8, and a parameter is text");
        return Err(Problem::new("ParametersInvalid", Code::BadParameters, message));
    };
    Ok(Known { text: text.to_owned(), version: revealed.version })
}

/// Values of `asker` with what they refer to in its place. `place` is how messages call the values.
pub(crate) fn fill(
    lookup: &dyn Lookup,
    vault: &Vault,
    asker: &Object,
    place: &str,
    values: &Values,
) -> Result<Filled, Problem> {
    let mut problem = None;
    let filled =
        secret::fill(&Value::Object(values.clone()), &mut |reference| match known(lookup, vault, asker, reference) {
            Ok(known) => Some(known),
            Err(found) => {
                problem.get_or_insert(found);
                None
            }
        });
    let Some(problem) = problem else { return Ok(filled) };
    let unknown = filled.places.iter().find(|place| !place.known).map(|found| found.path(place));
    let place = unknown.unwrap_or_else(|| place.to_owned());
    Err(Problem { message: format!("{place}: {}", problem.message), ..problem })
}

/// Whether the guest may have every secret that its values take. `kind` and `name` are those of its class or function.
pub(crate) fn granted(given: &Given, filled: &[&Filled], kind: Kind, name: &str) -> Result<(), Problem> {
    let problem = |reason, message| Err(Problem::new(reason, Code::SecretDenied, message));
    for reference in filled.iter().flat_map(|filled| &filled.places).map(|place| &place.reference) {
        let is_it = |ability: &ferrule_model::capability::Ability| {
            ability.kind == AbilityKind::Secret
                && matches!(&ability.target, Target::Name(name) if *name == reference.secret)
        };
        if given.rules.allowed.iter().any(is_it) {
            continue;
        }
        let noun = kind.nouns()[0];
        if let Some((_, denial)) = given.denied.iter().find(|(ability, _)| is_it(ability)) {
            let message = format!(
                "{name} would see secret `{}`, which `{denial}` denies: a denial wins over every grant",
                reference.secret
            );
            return problem("SecretDenied", message);
        }
        let Some(ability) = given.missing.iter().find(|ability| is_it(ability)) else {
            let message = format!(
                "the component of {noun} {name} does not ask for secret `{}`, so it is not given the value. Write it \
                 where the component asks for one (`ferrule describe {noun} {name}` shows that), or use a component that does",
                reference.secret
            );
            return problem("SecretNotAsked", message);
        };
        let entry = serde_json::to_string(&ability.allowance()).unwrap_or_default();
        let message = format!(
            "{name} would see secret `{}`, and no grant gives it. To allow it, apply a document of kind Grant with \
             spec: {{{noun}: {name}, allow: [{entry}]}}",
            reference.secret
        );
        return problem("SecretNotGranted", message);
    }
    Ok(())
}
