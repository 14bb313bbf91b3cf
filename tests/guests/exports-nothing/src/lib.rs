//! A component that exports a function of its own and none of the contract. The host must refuse to load it.

wit_bindgen::generate!({
    inline: "
        package vendor:other@1.0.0;
        world other { export greet: func() -> string; }
    ",
    world: "other",
});

struct ExportsNothing;

impl Guest for ExportsNothing {
    fn greet() -> String {
        "hello".into()
    }
}

export!(ExportsNothing);
