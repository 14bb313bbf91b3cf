//! What is promised of the examples.

use std::path::Path;

#[test]
fn the_smallest_useful_source_and_sink_have_at_most_forty_lines() {
    for name in ["line_source.rs", "line_sink.rs"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
        let lines = std::fs::read_to_string(path).unwrap().lines().count();
        assert!(lines <= 40, "{name} has {lines} lines");
    }
}
