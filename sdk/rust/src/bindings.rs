//! The contract in Rust, generated from `wit/`: once for all worlds, so that they have their types in common.
//!
//! [`export!`](crate::export) picks the interfaces of one world and adds the section that names it.

#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::panic,
    unsafe_code,
    unreachable_pub,
    reason = "generated; the contract is documented in wit/"
)]

wit_bindgen::generate!({
    path: "../../wit",
    world: "ferrule:connector/everything",
    with: {
        "wasi:io/error@0.2.12": wasip2::io::error,
        "wasi:io/poll@0.2.12": wasip2::io::poll,
        "wasi:io/streams@0.2.12": wasip2::io::streams,
    },
    generate_unused_types: true,
    pub_export_macro: true,
});

/// The types of the worlds, to be put in a section named `component-type:…` of the module.
pub mod world {
    pub const SOURCE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/source"));
    pub const SINK: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sink"));
    pub const CONNECTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/connector"));
    pub const FUNCTION: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/function"));

    /// The bytes of a world as an array.
    pub const fn bytes<const N: usize>(world: &'static [u8]) -> &'static [u8; N] {
        match world.first_chunk() {
            Some(bytes) => bytes,
            None => panic!("the length is that of the world"),
        }
    }
}
