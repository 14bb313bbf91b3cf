//! Describes itself wrongly in every way. The host must refuse to load it and tell all that is wrong.

use naughty_connector::{Description, Direction, Naughty, Schema, description, naughty};

struct DescribesGarbage;

impl Naughty for DescribesGarbage {
    fn describe() -> Description {
        Description {
            name: "No Name!".into(),
            version: "newest".into(),
            directions: vec![Direction::Transform],
            schemas: vec![Schema { name: "static".into(), content: "{not json".into() }],
            properties: vec![("engine".into(), "\"steam\"".into())],
            ..description()
        }
    }
}

naughty!(DescribesGarbage);
