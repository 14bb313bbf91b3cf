//! A secret's document made of files, variables and standard input, so that no value is written on a command line.

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferrule_model::{Code, Kind};
use serde_json::{Map, json};

use crate::documents::cannot_read;
use crate::exit::{Exit, Failure};

/// More is no secret; the server says what it takes.
const LARGEST: u64 = 1 << 20;

/// `KEY=PATH`.
#[derive(Clone, Debug)]
pub(crate) struct FromFile {
    key: String,
    path: PathBuf,
}

/// `KEY=VAR`.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    key: String,
    variable: String,
}

pub(crate) fn from_file(text: &str) -> Result<FromFile, String> {
    let (key, path) = pair(text, "PATH")?;
    Ok(FromFile { key, path: path.into() })
}

pub(crate) fn from_env(text: &str) -> Result<Named, String> {
    let (key, variable) = pair(text, "VAR")?;
    Ok(Named { key, variable })
}

fn pair(text: &str, what: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, rest)) if !key.is_empty() && !rest.is_empty() => Ok((key.to_owned(), rest.to_owned())),
        _ => Err(format!("expected KEY={what}")),
    }
}

/// The document of a secret with these values.
pub(crate) fn document(
    name: &str,
    secret_type: &str,
    files: &[FromFile],
    variables: &[Named],
    stdin: Option<&str>,
) -> Result<Vec<u8>, Failure> {
    let mut data = Map::new();
    let mut add = |key: &str, value: &[u8]| {
        if data.insert(key.to_owned(), STANDARD.encode(value).into()).is_some() {
            return Err(Failure::usage(format!("the key `{key}` is given twice")));
        }
        Ok(())
    };
    for FromFile { key, path } in files {
        let file = fs::File::open(path).map_err(|error| cannot_read(path, &error))?;
        add(key, &limited(file).map_err(|error| cannot_read(path, &error))?)?;
    }
    for Named { key, variable } in variables {
        let value = std::env::var_os(variable).ok_or_else(|| {
            Failure::new(Exit::Invalid, format!("the variable {variable} is not set")).with_code(Code::MissingVariable)
        })?;
        add(key, value.as_encoded_bytes())?;
    }
    if let Some(key) = stdin {
        let mut value = limited(std::io::stdin().lock())?;
        if value.ends_with(b"\n") {
            value.pop();
            if value.ends_with(b"\r") {
                value.pop();
            }
        }
        add(key, &value)?;
    }
    let document = json!({
        "apiVersion": "v1", "kind": Kind::Secret.name(), "metadata": {"name": name}, "type": secret_type, "data": data,
    });
    Ok(document.to_string().into_bytes())
}

fn limited(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
