//! A short text that changes when what it stands for changes.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The revision of a value. The order of members is of no account.
pub(crate) fn revision(value: &Value) -> String {
    let digest = Sha256::digest(sorted(value).to_string());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut pairs: Vec<_> = members.iter().collect();
            pairs.sort_by_key(|(name, _)| *name);
            Value::Object(pairs.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        scalar => scalar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_content_counts() {
        assert_eq!(
            revision(&json!({"a": 1, "b": {"c": 2, "d": 3}})),
            revision(&json!({"b": {"d": 3, "c": 2}, "a": 1}))
        );
        assert_ne!(revision(&json!({"a": [1, 2]})), revision(&json!({"a": [2, 1]})));
    }
}
