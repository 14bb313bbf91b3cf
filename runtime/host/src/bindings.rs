//! The only `bindgen!` call of the native side: the WIT contract as Rust types, for all worlds at once.
//!
//! The values that carry records are hand-written in [`wire`], so that a batch crosses without being rebuilt.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "generated code is public inside this private module, and not all used"
)]

pub mod wire;

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "everything",
    imports: {
        "ferrule:connector/net.resolve": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "wasi:io": wasmtime_wasi::p2::bindings::io,
        "ferrule:connector/types": crate::bindings::wire,
        "ferrule:connector/net.connection": crate::network::Connection,
        "ferrule:connector/net.connecting": crate::network::Connecting,
        "ferrule:connector/net.listener": crate::network::Listener,
    },
    require_store_data_send: true,
});
