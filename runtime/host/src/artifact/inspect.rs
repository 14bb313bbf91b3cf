//! What can be told from an artifact's bytes alone, before anything is compiled.

use wasmparser::{Encoding, Parser, Payload};

use super::{CONTRACT, World};
use crate::error::LoadError;
use crate::limits::CodeLimits;

/// The package of the contract.
const PACKAGE: &str = "ferrule:connector";

/// Which world the bytes are, or why they are none.
pub(super) fn inspect(bytes: &[u8], limits: &CodeLimits) -> Result<World, LoadError> {
    if bytes.len() > limits.artifact_bytes {
        return Err(LoadError::TooLarge { bytes: bytes.len(), limit: limits.artifact_bytes });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(LoadError::NotWasm { found: guess(bytes) });
    }
    let names = names(bytes, limits)?;
    for name in names.imports.iter().chain(&names.exports) {
        if let Some(wanted) = later_minor(name) {
            return Err(LoadError::NewerContract { name: name.clone(), wanted, contract: CONTRACT });
        }
    }
    world(&names.exports)
}

#[derive(Default)]
struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
}

/// The outermost imports and exports; on the way, that nothing in it is made to be slow to compile.
fn names(bytes: &[u8], limits: &CodeLimits) -> Result<Names, LoadError> {
    let bound = |what, found, limit| {
        if found > limit { Err(LoadError::TooComplex { what, found, limit }) } else { Ok(()) }
    };
    let mut nested = 0;
    let broken = |error: wasmparser::BinaryReaderError| LoadError::Damaged(error.to_string());
    let mut names = Names::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Err(LoadError::CoreModule),
            Payload::Version { .. } => {
                depth += 1;
                nested += 1;
                bound("modules and components in it", nested, limits.nested)?;
            }
            Payload::CodeSectionEntry(body) => {
                bound("bytes in one function", body.range().len(), limits.function_bytes)?;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    names.imports.push(import.map_err(broken)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    names.exports.push(export.map_err(broken)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

/// Which world has these exports.
fn world(exports: &[String]) -> Result<World, LoadError> {
    let has =
        |interface: &str| exports.iter().any(|name| interface_of(name).is_some_and(|(found, _)| found == interface));
    let ours = exports.iter().any(|name| interface_of(name).is_some());
    if !ours && exports.iter().any(|name| name.starts_with("wasi:cli/run@")) {
        return Err(LoadError::Command);
    }
    let mut missing: Vec<&str> = ["component", "lifecycle"].into_iter().filter(|name| !has(name)).collect();
    let world = match (has("consume"), has("produce"), has("transform")) {
        (true, false, false) => Some(World::Source),
        (false, true, false) => Some(World::Sink),
        (true, true, false) => Some(World::Connector),
        (false, false, true) => Some(World::Function),
        (false, false, false) => {
            missing.push("one of consume, produce and transform");
            None
        }
        (_, _, true) => {
            missing.push("a decision between transform and consume or produce");
            None
        }
    };
    match world {
        Some(world) if missing.is_empty() => Ok(world),
        _ => {
            let found = if exports.is_empty() { "nothing".to_owned() } else { exports.join(", ") };
            Err(LoadError::UnknownWorld { found, missing: missing.join(" and ") })
        }
    }
}

/// The interface and version of a name such as `ferrule:connector/consume@0.1.0`.
fn interface_of(name: &str) -> Option<(&str, &str)> {
    let interface = name.strip_prefix(PACKAGE)?.strip_prefix('/')?;
    Some(interface.split_once('@').unwrap_or((interface, "")))
}

fn numbers(version: &str) -> Option<(u64, u64, u64)> {
    let plain = version.split(['-', '+']).next()?;
    let mut parts = plain.split('.').map(str::parse);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) => Some((major, minor, patch)),
        _ => None,
    }
}

fn later_minor(name: &str) -> Option<String> {
    let (_, version) = interface_of(name)?;
    let ((major, minor, _), (our_major, our_minor, _)) = (numbers(version)?, numbers(CONTRACT)?);
    ((major, minor) > (our_major, our_minor)).then(|| version.to_owned())
}

/// The version that a name of the contract carries, when it is later than ours in any part.
pub(super) fn newer(name: &str) -> Option<String> {
    let (_, version) = interface_of(name)?;
    (numbers(version)? > numbers(CONTRACT)?).then(|| version.to_owned())
}

fn guess(bytes: &[u8]) -> String {
    match bytes {
        [] => "it is empty".to_owned(),
        [0x7f, b'E', b'L', b'F', ..] => "it is a native Linux program".to_owned(),
        [0x1f, 0x8b, ..] => "it is compressed with gzip".to_owned(),
        [b'P', b'K', 3, 4, ..] => "it is a ZIP archive".to_owned(),
        [b'(', ..] => "it is WebAssembly as text".to_owned(),
        _ if bytes.len() < 4096 && std::str::from_utf8(bytes).is_ok() => "it is a text".to_owned(),
        _ => "it does not begin with `\\0asm`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn bytes_that_are_no_component() {
        let cases: [(&[u8], &str); 4] =
            [(b"", "empty"), (b"\x7fELF\x02", "Linux"), (b"kind: Class", "text"), (b"(component)", "as text")];
        let inspect = |bytes: &[u8]| inspect(bytes, &CodeLimits::default());
        for (bytes, expected) in cases {
            match inspect(bytes) {
                Err(LoadError::NotWasm { found }) => assert!(found.contains(expected), "{found}"),
                other => panic!("{other:?}"),
            }
        }
        for cut in [&b"\0asmxxxx"[..], b"\0asm\x0d\0\x01\0\x07\x20\x01"] {
            let error = inspect(cut).unwrap_err();
            assert!(matches!(error, LoadError::Damaged(_)) && error.to_string().contains("is damaged: "), "{error}");
        }
        assert_eq!(inspect(b"\0asm\x01\0\0\0"), Err(LoadError::CoreModule));
        assert!(matches!(inspect(b"\0asm\x0d\0\x01\0"), Err(LoadError::UnknownWorld { .. })));
    }

    #[test]
    fn worlds_by_their_exports() {
        let base = ["ferrule:connector/component@0.1.0", "ferrule:connector/lifecycle@0.1.0"];
        let with = |more: &[&str]| world(&names(&[&base[..], more].concat()));
        assert_eq!(with(&["ferrule:connector/consume@0.1.0"]), Ok(World::Source));
        assert_eq!(with(&["ferrule:connector/produce@0.1.7"]), Ok(World::Sink));
        assert_eq!(with(&["ferrule:connector/consume@0.1.0", "ferrule:connector/produce@0.1.0"]), Ok(World::Connector));
        assert_eq!(with(&["ferrule:connector/transform@0.1.0"]), Ok(World::Function));
        assert!(matches!(with(&[]), Err(LoadError::UnknownWorld { .. })));
        assert_eq!(world(&names(&["wasi:cli/run@0.2.6"])), Err(LoadError::Command));
    }

    #[test]
    fn later_versions_are_told_apart() {
        for later in ["ferrule:connector/net@0.2.0", "ferrule:connector/net@1.0.0"] {
            assert!(later_minor(later).is_some(), "{later}");
        }
        for same in ["ferrule:connector/net@0.1.0", "ferrule:connector/net@0.1.9", "wasi:io/poll@0.9.0", "other"] {
            assert!(later_minor(same).is_none(), "{same}");
        }
        assert_eq!(newer("ferrule:connector/net@0.1.9").as_deref(), Some("0.1.9"));
        assert_eq!(newer("ferrule:connector/net@0.1.0"), None);
    }
}
