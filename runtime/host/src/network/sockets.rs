//! `wasi:sockets`: every address that a guest uses there is judged by the gate, and so is every name and what it stands for.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ferrule_model::capability::{AbilityKind, Host};
use wasmtime::StoreContextMut;
use wasmtime::component::{HasData, Linker, Resource};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, IpAddress, IpAddressFamily, Network};
use wasmtime_wasi::p2::bindings::sockets::{ip_name_lookup, tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{DynPollable, SocketError, TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSockets, WasiSocketsView as _};

use super::gate::{Door, Gate};
use crate::guest::Guest;

/// Opens the sockets of WASI as far as the gate lets through.
pub(crate) fn open_sockets(wasi: &mut WasiCtxBuilder, gate: &Arc<Gate>) {
    let gate = gate.clone();
    wasi.allow_tcp(true).allow_udp(true).allow_ip_name_lookup(true).socket_addr_check(move |address, purpose| {
        let permitted = permits(&gate, address, purpose);
        Box::pin(async move { permitted })
    });
}

fn permits(gate: &Gate, address: SocketAddr, purpose: SocketAddrUse) -> bool {
    let listen = || gate.check_name(Door::Tcp, AbilityKind::Listen, &address.ip().to_string(), address.port()).is_ok();
    match purpose {
        SocketAddrUse::TcpConnect => gate.check_address(Door::Tcp, AbilityKind::Tcp, address),
        // The system binds a socket that connects, to any port; to choose one is to listen.
        SocketAddrUse::TcpBind if address.port() == 0 => gate.has(&[AbilityKind::Tcp, AbilityKind::Listen]),
        SocketAddrUse::TcpBind | SocketAddrUse::TcpListen => listen(),
        // Who may listen may be called by anybody.
        SocketAddrUse::TcpAccept => true,
        SocketAddrUse::UdpBind if address.port() == 0 => gate.has(&[AbilityKind::Udp]),
        SocketAddrUse::UdpBind => listen(),
        SocketAddrUse::UdpSend => gate.check_address(Door::Udp, AbilityKind::Udp, address),
        SocketAddrUse::UdpReceive => gate.expects(Door::Udp, AbilityKind::Udp, address),
    }
}

/// Makes sockets, as long as the guest may have more.
pub(crate) fn link_tcp(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    tcp_create_socket::add_to_linker::<_, WasiSockets>(linker, Guest::sockets)?;
    linker.allow_shadowing(true);
    linker.instance("wasi:sockets/tcp-create-socket@0.2.12")?.func_wrap(
        "create-tcp-socket",
        |mut store: StoreContextMut<'_, Guest>, (family,): (IpAddressFamily,)| {
            let guest = store.data_mut();
            if !guest.has_room_for_socket() {
                return Ok((Err(ErrorCode::NewSocketLimit),));
            }
            let made = tcp_create_socket::Host::create_tcp_socket(&mut guest.sockets(), family);
            Ok((match made {
                Ok(socket) => {
                    guest.sockets.tcp.insert(socket.rep());
                    Ok(socket)
                }
                Err(error) => Err(error.downcast()?),
            },))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The same, for UDP.
pub(crate) fn link_udp(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    udp_create_socket::add_to_linker::<_, WasiSockets>(linker, Guest::sockets)?;
    linker.allow_shadowing(true);
    linker.instance("wasi:sockets/udp-create-socket@0.2.12")?.func_wrap_async(
        "create-udp-socket",
        |mut store: StoreContextMut<'_, Guest>, (family,): (IpAddressFamily,)| {
            Box::new(async move {
                let guest = store.data_mut();
                if !guest.has_room_for_socket() {
                    return Ok((Err(ErrorCode::NewSocketLimit),));
                }
                let made = udp_create_socket::Host::create_udp_socket(&mut guest.sockets(), family).await;
                Ok((match made {
                    Ok(socket) => {
                        guest.sockets.udp.insert(socket.rep());
                        Ok(socket)
                    }
                    Err(error) => Err(error.downcast()?),
                },))
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The sockets of WASI that a guest made, by handle. Those that are gone are noticed when it wants one more.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    tcp: HashSet<u32>,
    udp: HashSet<u32>,
}

impl Guest {
    fn has_room_for_socket(&mut self) -> bool {
        let (table, most) = (&self.table, self.gate.sockets().most());
        let Sockets { tcp, udp } = &mut self.sockets;
        if tcp.len() + udp.len() >= most {
            tcp.retain(|rep| table.get(&Resource::<TcpSocket>::new_borrow(*rep)).is_ok());
            udp.retain(|rep| table.get(&Resource::<UdpSocket>::new_borrow(*rep)).is_ok());
        }
        let room = tcp.len() + udp.len() < most;
        if !room {
            self.gate.sockets().refuse();
        }
        room
    }
}

/// The names that are being looked up, by the handle of the answer. As many as the guest may have handles.
#[derive(Debug, Default)]
pub(crate) struct Lookups(HashMap<u32, Host>);

/// Lends a guest to the look-up of names.
pub(crate) struct Lookup;

impl HasData for Lookup {
    type Data<'a> = LookupView<'a>;
}

/// The look-up of names of one guest.
pub(crate) struct LookupView<'a>(pub(crate) &'a mut Guest);

impl network::Host for LookupView<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        network::Host::network_error_code(&mut self.0.sockets(), error)
    }
}

impl network::HostNetwork for LookupView<'_> {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        network::HostNetwork::drop(&mut self.0.sockets(), network)
    }
}

type Answer = Resource<ip_name_lookup::ResolveAddressStream>;

impl ip_name_lookup::Host for LookupView<'_> {
    fn resolve_addresses(&mut self, network: Resource<Network>, name: String) -> Result<Answer, SocketError> {
        if self.0.gate.check_name(Door::Lookup, AbilityKind::Resolve, &name, 0).is_err() {
            return Err(ErrorCode::AccessDenied.into());
        }
        let host = Host::parse(&name).map_err(|_| ErrorCode::InvalidArgument)?;
        if self.0.lookups.0.len() >= self.0.gate.lookups().most() {
            self.0.gate.lookups().refuse();
            return Err(ErrorCode::TemporaryResolverFailure.into());
        }
        let answer = ip_name_lookup::Host::resolve_addresses(&mut self.0.sockets(), network, host.to_string())?;
        self.0.lookups.0.insert(answer.rep(), host);
        Ok(answer)
    }
}

impl ip_name_lookup::HostResolveAddressStream for LookupView<'_> {
    /// The next address that the guest may see; those that it may not are passed over.
    fn resolve_next_address(&mut self, answer: Answer) -> Result<Option<IpAddress>, SocketError> {
        let handle = answer.rep();
        loop {
            let next = ip_name_lookup::HostResolveAddressStream::resolve_next_address(
                &mut self.0.sockets(),
                Resource::new_borrow(handle),
            )?;
            let Some(address) = next else { return Ok(None) };
            let shown = match self.0.lookups.0.get(&handle) {
                Some(host) => self.0.gate.found(host, ip(&address)),
                None => false,
            };
            if shown {
                return Ok(Some(address));
            }
        }
    }

    fn subscribe(&mut self, answer: Answer) -> wasmtime::Result<Resource<DynPollable>> {
        ip_name_lookup::HostResolveAddressStream::subscribe(&mut self.0.sockets(), answer)
    }

    fn drop(&mut self, answer: Answer) -> wasmtime::Result<()> {
        self.0.lookups.0.remove(&answer.rep());
        ip_name_lookup::HostResolveAddressStream::drop(&mut self.0.sockets(), answer)
    }
}

fn ip(address: &IpAddress) -> IpAddr {
    match *address {
        IpAddress::Ipv4((a, b, c, d)) => IpAddr::from([a, b, c, d]),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => IpAddr::from([a, b, c, d, e, f, g, h]),
    }
}
