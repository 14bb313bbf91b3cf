//! What the server notes on an object in annotations of its own, so that it outlives the next document.

use ferrule_model::Object;

/// The set of documents that the object was applied with, for `--prune`.
pub(crate) const SET: &str = "ferrule.dev/set";
/// Who paused the object with a command; the document says nothing of it.
pub(crate) const HELD: &str = "ferrule.dev/held-by";
/// The file that the digest in `component` was made from.
pub(crate) const FILE: &str = "ferrule.dev/component-file";
/// The digest that `register --for` gave to a class or function whose document names no component.
pub(crate) const ATTACHED: &str = "ferrule.dev/component";
/// The object was made by registering a component that came with the product.
pub(crate) const SHIPPED: &str = "ferrule.dev/shipped";

/// Whether the annotation is the server's own.
pub(crate) fn is_own(name: &str) -> bool {
    name.starts_with("ferrule.dev/")
}

/// Puts into the spec of an object that comes from a document what the notes on it say.
pub(crate) fn keep(object: &mut Object) {
    let annotations = &object.metadata.annotations;
    let held = annotations.contains_key(HELD);
    let attached = annotations.get(ATTACHED).cloned();
    let Some(spec) = object.spec.as_object_mut() else { return };
    if held {
        spec.insert("paused".to_owned(), true.into());
    }
    match attached {
        Some(digest) if !spec.contains_key("component") => {
            spec.insert("component".to_owned(), digest.into());
        }
        // The document names one now.
        Some(digest) if spec.get("component").and_then(|text| text.as_str()) != Some(&digest) => {
            object.metadata.annotations.remove(ATTACHED);
        }
        _ => {}
    }
}
