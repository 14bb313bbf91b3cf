//! Every import that a guest may have, linked once for each engine. What a guest may do with them is decided for each instance.

use wasmtime::Engine;
use wasmtime::component::{HasData, Linker};

use crate::bindings::ferrule::connector::{logging, metrics, net, status, wakeup};
use crate::guest::Guest;
use crate::network::http;

/// Lends the whole guest to an interface.
struct Whole;

impl HasData for Whole {
    type Data<'a> = &'a mut Guest;
}

pub(crate) fn link(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    // Sockets are linked because the standard library of guest languages imports them; every address is refused.
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    http::link(&mut linker)?;
    wakeup::add_to_linker::<_, Whole>(&mut linker, |guest| guest)?;
    net::add_to_linker::<_, Whole>(&mut linker, |guest| guest)?;
    logging::add_to_linker::<_, Whole>(&mut linker, |guest| guest)?;
    metrics::add_to_linker::<_, Whole>(&mut linker, |guest| guest)?;
    status::add_to_linker::<_, Whole>(&mut linker, |guest| guest)?;
    Ok(linker)
}
