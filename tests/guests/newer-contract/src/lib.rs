//! Was built for a later contract. The host must refuse to load it and say which version it would need.

wit_bindgen::generate!({
    inline: "
        package ferrule:connector@0.2.0;
        interface component { describe: func() -> string; }
        interface consume { next: func() -> list<u8>; }
        world source {
            export component;
            export consume;
        }
    ",
    world: "source",
});

use exports::ferrule::connector::{component, consume};

struct NewerContract;

impl component::Guest for NewerContract {
    fn describe() -> String {
        String::new()
    }
}

impl consume::Guest for NewerContract {
    fn next() -> Vec<u8> {
        Vec::new()
    }
}

export!(NewerContract);
