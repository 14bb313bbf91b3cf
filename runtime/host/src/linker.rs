//! Every import that a guest may have, linked once for each engine, and which check each of them passes. What a guest may do
//! with them is decided for each instance.

use wasmtime::Engine;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi_http::p2::bindings::http;
use wasmtime_wasi_http::{WasiHttp, WasiHttpView as _};
use wasmtime_wasi_io::bindings::wasi::io;

use crate::bindings::ferrule::connector::{logging, metrics, net, status, wakeup};
use crate::guest::Guest;
use crate::network::{Lookup, LookupView};

/// Lends the whole guest to an interface.
struct Whole;

impl HasData for Whole {
    type Data<'a> = &'a mut Guest;
}

/// Lends the guest's handles.
struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// What keeps a guest from more than it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// The gate (`network/gate.rs`), by name and by address.
    Gate,
    /// Folders that are granted are opened beforehand, and nothing outside of them can be named.
    Folders,
    /// What is shown was granted by name.
    Names,
    /// Rates and counts are bounded, and what goes out goes to the platform only.
    Bounds,
    /// It reaches nothing: why.
    Nothing(#[allow(dead_code, reason = "for whoever reads the table")] &'static str),
}

/// An interface that guests may import: its check, and how it is linked.
type Offer = (&'static str, Check, fn(&mut Linker<Guest>) -> wasmtime::Result<()>);

const HANDLES: Check = Check::Nothing("it works on what the guest has");
const CLOCK: Check = Check::Nothing("the time is no secret");
const CHANCE: Check = Check::Nothing("chance is no secret");
const EMPTY: Check = Check::Nothing("there is none");

/// Everything that is offered. Nothing is linked that does not stand here.
const OFFERS: &[Offer] = &[
    ("ferrule:connector/wakeup", HANDLES, |l| wakeup::add_to_linker::<_, Whole>(l, |guest| guest)),
    ("ferrule:connector/net", Check::Gate, |l| net::add_to_linker::<_, Whole>(l, |guest| guest)),
    ("ferrule:connector/logging", Check::Bounds, |l| logging::add_to_linker::<_, Whole>(l, |guest| guest)),
    ("ferrule:connector/metrics", Check::Bounds, |l| metrics::add_to_linker::<_, Whole>(l, |guest| guest)),
    ("ferrule:connector/status", Check::Bounds, |l| status::add_to_linker::<_, Whole>(l, |guest| guest)),
    ("wasi:io/error", HANDLES, |l| io::error::add_to_linker::<_, Table>(l, |guest| guest.ctx().table)),
    ("wasi:io/poll", HANDLES, |l| io::poll::add_to_linker::<_, Table>(l, |guest| guest.ctx().table)),
    ("wasi:io/streams", HANDLES, |l| io::streams::add_to_linker::<_, Table>(l, |guest| guest.ctx().table)),
    ("wasi:clocks/wall-clock", CLOCK, |l| clocks::wall_clock::add_to_linker::<_, WasiClocks>(l, Guest::clocks)),
    ("wasi:clocks/monotonic-clock", CLOCK, |l| {
        clocks::monotonic_clock::add_to_linker::<_, WasiClocks>(l, Guest::clocks)
    }),
    ("wasi:random/random", CHANCE, |l| {
        random::random::add_to_linker::<_, WasiRandom>(l, |guest| guest.ctx().ctx.random())
    }),
    ("wasi:random/insecure", CHANCE, |l| {
        random::insecure::add_to_linker::<_, WasiRandom>(l, |guest| guest.ctx().ctx.random())
    }),
    ("wasi:random/insecure-seed", CHANCE, |l| {
        random::insecure_seed::add_to_linker::<_, WasiRandom>(l, |guest| guest.ctx().ctx.random())
    }),
    ("wasi:filesystem/preopens", Check::Folders, |l| {
        filesystem::preopens::add_to_linker::<_, WasiFilesystem>(l, Guest::filesystem)
    }),
    ("wasi:filesystem/types", Check::Folders, |l| {
        filesystem::types::add_to_linker::<_, WasiFilesystem>(l, Guest::filesystem)
    }),
    ("wasi:cli/environment", Check::Names, |l| cli::environment::add_to_linker::<_, WasiCli>(l, Guest::cli)),
    ("wasi:cli/exit", Check::Nothing("it ends the guest's own call"), |l| {
        cli::exit::add_to_linker::<_, WasiCli>(l, Guest::cli)
    }),
    ("wasi:cli/stdin", EMPTY, |l| cli::stdin::add_to_linker::<_, WasiCli>(l, Guest::cli)),
    ("wasi:cli/stdout", Check::Bounds, |l| cli::stdout::add_to_linker::<_, WasiCli>(l, Guest::cli)),
    ("wasi:cli/stderr", Check::Bounds, |l| cli::stderr::add_to_linker::<_, WasiCli>(l, Guest::cli)),
    ("wasi:cli/terminal-input", EMPTY, |l| cli::terminal_input::add_to_linker::<_, WasiCli>(l, Guest::cli)),
    ("wasi:cli/terminal-output", EMPTY, |l| cli::terminal_output::add_to_linker::<_, WasiCli>(l, Guest::cli)),
    ("wasi:cli/terminal-stdin", EMPTY, |l| cli::terminal_stdin::add_to_linker::<_, WasiCli>(l, Guest::cli)),
    ("wasi:cli/terminal-stdout", EMPTY, |l| cli::terminal_stdout::add_to_linker::<_, WasiCli>(l, Guest::cli)),
    ("wasi:cli/terminal-stderr", EMPTY, |l| cli::terminal_stderr::add_to_linker::<_, WasiCli>(l, Guest::cli)),
    ("wasi:sockets/instance-network", HANDLES, |l| {
        sockets::instance_network::add_to_linker::<_, WasiSockets>(l, Guest::sockets)
    }),
    ("wasi:sockets/network", HANDLES, |l| {
        sockets::network::add_to_linker::<_, WasiSockets>(l, &sockets::network::LinkOptions::default(), Guest::sockets)
    }),
    ("wasi:sockets/tcp-create-socket", HANDLES, crate::network::sockets::link_tcp),
    ("wasi:sockets/tcp", Check::Gate, |l| sockets::tcp::add_to_linker::<_, WasiSockets>(l, Guest::sockets)),
    ("wasi:sockets/udp-create-socket", HANDLES, crate::network::sockets::link_udp),
    ("wasi:sockets/udp", Check::Gate, |l| sockets::udp::add_to_linker::<_, WasiSockets>(l, Guest::sockets)),
    ("wasi:sockets/ip-name-lookup", Check::Gate, |l| {
        sockets::ip_name_lookup::add_to_linker::<_, Lookup>(l, |guest| LookupView(guest))
    }),
    ("wasi:http/types", HANDLES, |l| {
        http::types::add_to_linker::<_, WasiHttp>(l, &http::types::LinkOptions::default(), Guest::http)
    }),
    ("wasi:http/outgoing-handler", Check::Gate, crate::network::http::link),
];

pub(crate) fn link(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    for (_, _, offer) in OFFERS {
        offer(&mut linker)?;
    }
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing can be linked twice, so what an entry links shows when it is linked again.
    #[test]
    fn each_interface_that_is_offered_has_its_check() {
        let engine = Engine::default();
        for (interface, _, offer) in OFFERS {
            let mut alone = Linker::new(&engine);
            offer(&mut alone).unwrap();
            for (other, _, again) in OFFERS {
                let known = again(&mut alone.clone()).is_err();
                assert_eq!(known, other == interface, "what is linked as {interface} and as {other}");
            }
        }
    }

    #[test]
    fn what_reaches_the_network_passes_the_gate() {
        let gated: Vec<_> =
            OFFERS.iter().filter(|(_, check, _)| *check == Check::Gate).map(|(interface, ..)| *interface).collect();
        assert_eq!(
            gated,
            [
                "ferrule:connector/net",
                "wasi:sockets/tcp",
                "wasi:sockets/udp",
                "wasi:sockets/ip-name-lookup",
                "wasi:http/outgoing-handler"
            ]
        );
    }
}
