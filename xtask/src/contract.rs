//! That the contract explains itself: every interface, type, field and function in `wit/` has a comment.

use anyhow::{Context as _, Result};
use std::fs;
use std::path::Path;

/// A line for each item of the contract without a comment.
pub(crate) fn undocumented_items(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("wit");
    let entries = fs::read_dir(&folder).with_context(|| format!("could not list {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == "wit"));
    files.sort();
    let mut breaches = Vec::new();
    for path in files {
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let text = fs::read_to_string(&path)?;
        breaches.extend(undocumented(&text).into_iter().map(|(line, item)| {
            format!("{name}:{line}: `{item}` has no comment: say with `///` what it is, in which unit and who may rely on it")
        }));
    }
    Ok(breaches)
}

/// The items of a WIT text that no `///` stands before, each with its line. Cases of enums, flags and variants may go without.
fn undocumented(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut blocks: Vec<&str> = Vec::new();
    let mut documented = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with("///") {
            documented = true;
            continue;
        }
        let mut words = line.split([' ', ':']).filter(|word| !word.is_empty());
        let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let named = match first {
            "interface" | "world" | "record" | "variant" | "enum" | "flags" | "resource" | "type" => Some(second),
            _ if blocks.last() == Some(&"record") && line.contains(':') => Some(first),
            _ if line.contains(": func(") => Some(first),
            _ => None,
        };
        if let Some(name) = named.filter(|_| !documented) {
            found.push((number + 1, name.trim_end_matches(['{', ';', ',']).to_owned()));
        }
        documented = false;
        if line.ends_with('{') {
            blocks.push(first);
        } else if line.starts_with('}') {
            blocks.pop();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::undocumented;

    #[test]
    fn items_without_a_comment_are_named() {
        let text = "package a:b;\n\n/// An interface.\ninterface one {\n  use two.{json};\n\n  enum level { low, high }\n\n  \
                    /// A record.\n  record kept {\n    /// Good.\n    good: u32,\n    bad: list<u8>,\n  }\n  call: func(a: u32);\n}\n";
        let found: Vec<_> = undocumented(text).into_iter().collect();
        assert_eq!(found, [(7, "level".to_owned()), (13, "bad".to_owned()), (15, "call".to_owned())]);
    }

    #[test]
    fn cases_may_go_without_and_a_blank_line_parts_a_comment_from_its_item() {
        assert!(undocumented("/// Two.\nenum two {\n  one,\n  other(string),\n}\n").is_empty());
        assert_eq!(undocumented("/// Of nothing.\n\nworld empty {\n}\n"), [(3, "empty".to_owned())]);
    }
}
