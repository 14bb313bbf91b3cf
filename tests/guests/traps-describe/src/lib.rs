//! Panics in `describe` and `validate`. The host must refuse to load it, and say why.

use naughty_connector::{Description, Naughty, naughty};

struct TrapsDescribe;

impl Naughty for TrapsDescribe {
    fn describe() -> Description {
        panic!("who am I")
    }
}

naughty!(TrapsDescribe);
