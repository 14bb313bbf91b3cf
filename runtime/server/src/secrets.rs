//! The key to the secrets, and their values sealed before anything of them is stored.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferrule_control::secrets::Vault;
use ferrule_model::redact::Redactor;
use ferrule_model::secret::{SEALED, SecretSpec, is_masked};
use ferrule_model::{Code, Diagnostic, Kind, Object};
use zeroize::Zeroizing;

use crate::error::StartError;
use crate::folder::{DataFolder, write_durably};

/// A key that is longer is none.
const LARGEST_KEY_FILE: u64 = 1 << 10;

/// The key to the secrets of this folder, with its text: that in `given`, else the folder's own, which is made at the first start.
pub(crate) fn open(folder: &DataFolder, given: Option<&Path>) -> Result<(Vault, Zeroizing<String>), StartError> {
    let own = folder.secret_key();
    let path = given.unwrap_or(&own);
    let failed = |source| StartError::Folder { what: "the key of the secrets", path: path.to_owned(), source };
    let text = match read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && given.is_none() => {
            let text = Vault::new_key().map_err(io::Error::other).map_err(failed)?;
            write_durably(path, format!("{}\n", *text).as_bytes()).map_err(failed)?;
            text
        }
        Err(error) => return Err(failed(error)),
    };
    let vault = Vault::new(&text).map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    Ok((vault, text))
}

fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let facts = fs::metadata(path)?;
    if !facts.is_file() || facts.len() > LARGEST_KEY_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file with a key"));
    }
    let mode = facts.permissions().mode();
    if mode & 0o077 != 0 {
        let text = format!(
            "others may read it (mode {:o}); run chmod 600 on it, and if somebody may have read it, put another key in its \
             place and apply the secrets again",
            mode & 0o777
        );
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    fs::read_to_string(path).map(Zeroizing::new)
}

/// Seals the values of a secret's document, whose id is known. A value that is as before stays as it was sealed, and one that is
/// masked keeps what is there.
pub(crate) fn seal(vault: &Vault, object: &mut Object, before: Option<&Object>) -> Result<(), Box<Diagnostic>> {
    if object.kind != Kind::Secret {
        return Ok(());
    }
    let internal = |text: String| Box::new(Diagnostic::new(Code::Internal, text));
    let mut spec: SecretSpec = object.typed().map_err(|error| internal(error.to_string()))?;
    let there = before.and_then(|before| before.typed::<SecretSpec>().ok()).unwrap_or_default().data;
    for (key, value) in &mut spec.data {
        let old = there.get(key);
        if is_masked(value) {
            let Some(old) = old else {
                let text = format!("the value is masked, and {} has none of this name to keep", object.title());
                let help = "write the value itself, under `stringData` or as base64 under `data`";
                return Err(Box::new(Diagnostic::new(Code::BadValue, text).at(format!("data.{key}")).help(help)));
            };
            value.clone_from(old);
            continue;
        }
        // What the store gave is sealed already.
        if value.starts_with(SEALED) {
            continue;
        }
        let plain = Zeroizing::new(STANDARD.decode(&*value).map_err(|error| internal(error.to_string()))?);
        let same = |old: &&String| vault.open(object.uid(), key, old).is_ok_and(|old| *old == *plain);
        *value = match old.filter(same) {
            Some(old) => old.clone(),
            None => vault.seal(object.uid(), key, &plain).map_err(|error| {
                let text = format!("{} cannot be sealed: {error}", object.title());
                Box::new(Diagnostic::new(Code::SecretUnreadable, text).help("see the server's log"))
            })?,
        };
    }
    object.set_spec(spec).map_err(|error| internal(error.to_string()))
}

/// Masks the values in documents that were read and are not sealed yet, for whatever is said of them.
pub(crate) fn redactor<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Redactor {
    let mut values = Vec::new();
    for object in objects.into_iter().filter(|object| object.kind == Kind::Secret) {
        let spec: SecretSpec = object.typed().unwrap_or_default();
        let plain = spec.data.values().filter(|value| !is_masked(value) && !value.starts_with(SEALED));
        values.extend(plain.filter_map(|value| STANDARD.decode(value).ok()).map(Zeroizing::new));
    }
    Redactor::new(values.iter().map(|value| value.as_slice()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn folder(place: &tempfile::TempDir) -> DataFolder {
        DataFolder::open(&place.path().join("data")).unwrap()
    }

    #[test]
    fn the_key_is_made_once_and_is_its_owners_alone() {
        let place = tempfile::tempdir().unwrap();
        let folder = folder(&place);
        let (_, text) = open(&folder, None).unwrap();
        let path = folder.secret_key();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(open(&folder, None).unwrap().1.trim(), text.trim());

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = open(&folder, None).unwrap_err().to_string();
        assert!(error.contains("chmod 600") && !error.contains(&text[..8]), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "no key").unwrap();
        assert!(open(&folder, None).unwrap_err().to_string().contains("64 hexadecimal digits"));
        // One that is given is never made.
        let given = place.path().join("given");
        assert!(open(&folder, Some(&given)).is_err() && !given.exists());
        write_durably(&given, text.as_bytes()).unwrap();
        fs::set_permissions(&given, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(open(&folder, Some(&given)).unwrap().1.trim(), text.trim());
        assert!(open(&folder, Some(place.path())).unwrap_err().to_string().contains("no file with a key"));
    }

    fn secret(values: serde_json::Value) -> Object {
        let mut object = Object::new(Kind::Secret, "login", json!({"type": "Opaque", "data": values})).unwrap();
        object.metadata.uid = "u-1".into();
        object
    }

    #[test]
    fn values_are_sealed_and_stay_as_they_are_while_they_are_the_same() {
        let vault = Vault::new(&Vault::new_key().unwrap()).unwrap();
        let mut first = secret(json!({"a": STANDARD.encode("hunter2"), "b": STANDARD.encode("other")}));
        assert_eq!(redactor([&first]).mask("hunter2"), "****");
        seal(&vault, &mut first, None).unwrap();
        let text = first.spec.to_string();
        assert!(!text.contains("hunter2") && !text.contains(&STANDARD.encode("hunter2")), "{text}");
        let mut again =
            secret(json!({"a": STANDARD.encode("hunter2"), "b": STANDARD.encode("new"), "c": STANDARD.encode("c")}));
        seal(&vault, &mut again, Some(&first)).unwrap();
        assert_eq!(again.spec["data"]["a"], first.spec["data"]["a"]);
        assert_ne!(again.spec["data"]["b"], first.spec["data"]["b"]);
        let mut kept = secret(json!({"a": "**** (7 bytes)"}));
        seal(&vault, &mut kept, Some(&again)).unwrap();
        assert_eq!(kept.spec["data"], json!({"a": again.spec["data"]["a"]}));
        let mut none = secret(json!({"x": "**** (7 bytes)"}));
        let problem = seal(&vault, &mut none, Some(&again)).unwrap_err();
        assert_eq!((problem.code, problem.path.as_str()), (Code::BadValue, "data.x"));
        assert_eq!(seal(&Vault::default(), &mut again.clone(), None), Ok(()), "sealed already");
    }
}
