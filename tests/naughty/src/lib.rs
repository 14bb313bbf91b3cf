//! Guests in hand-written text, as components of the contract: a few core functions each, in a frame that is the same for all.
//!
//! All answers of the contract are good when they are nothing but zeros, and address 0 holds zeros: a function that is not
//! written answers `0`. Memory and `realloc` are of a module of their own, so that imports can be lowered before the guest is there.

mod frame;
mod imports;

pub use frame::{ANSWER, Parts, World, component};
pub use imports::Import;

/// The bytes of a component text.
pub fn assemble(text: &str) -> Result<Vec<u8>, wat::Error> {
    wat::parse_str(text)
}

/// A source that gives `count` records of one byte each time, for ever.
#[must_use]
pub fn good_source(count: u32) -> String {
    component(&Parts {
        world: World::Source,
        code: &format!(
            "(func (export \"next\") (param i32 i32 i32 i32) (result i32) (call $batch (i32.const {count})))"
        ),
        ..Parts::default()
    })
}
