//! The one place that decides what a guest may reach: by name, then by every address that the name stands for.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ferrule_model::Code;
use ferrule_model::capability::{Ability, AbilityKind, Host, HostPattern, Target, is_special};
use ferrule_model::component::Capability;
use tokio::net::TcpStream;

use super::policy;
use crate::error::Refusal;
use crate::guest::{GrantHint, Identity};
use crate::observer::Observer;

/// How long one address may take to answer. Threat: an address that swallows packets holds up the others of the name.
const DIAL: Duration = Duration::from_secs(10);

/// Why a connection cannot be had, as the guest is told.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    Denied(Box<Refusal>),
    UnknownName(String),
    Unreachable(String),
    Unsupported(String),
    Invalid(String),
}

impl Failure {
    /// What a guest is told that asks for TLS.
    pub(crate) fn encrypted(host: &str, port: u16) -> Self {
        Self::Unsupported(format!(
            "this version of Ferrule makes no encrypted connections, so {} cannot be reached with TLS; use the system's \
             unencrypted port, or a TLS proxy beside the runtime",
            show(host, port)
        ))
    }

    /// For a person.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Denied(refusal) => &refusal.message,
            Self::UnknownName(message)
            | Self::Unreachable(message)
            | Self::Unsupported(message)
            | Self::Invalid(message) => message,
        }
    }
}

pub(crate) struct Gate {
    guest: String,
    hint: GrantHint,
    abilities: Vec<Ability>,
    asked: Vec<Capability>,
    observer: Arc<dyn Observer>,
    refusals: AtomicU64,
    last: Mutex<Option<Refusal>>,
}

/// A host and port that passed the check by name.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    kind: AbilityKind,
    host: String,
    port: u16,
}

impl Gate {
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            guest: identity.name,
            hint: identity.hint,
            abilities: identity.abilities,
            asked: identity.asked,
            observer: identity.observer,
            refusals: AtomicU64::new(0),
            last: Mutex::new(None),
        }
    }

    /// How much was refused since the guest began.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// What was refused last.
    pub(crate) fn last_refusal(&self) -> Option<Refusal> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Checks by name; nothing is sent.
    pub(crate) fn check_name(&self, kind: AbilityKind, host: &str, port: u16) -> Result<Destination, Failure> {
        let named = Host::parse(host).map_err(|problem| Failure::Invalid(format!("`{host:.300}`: {problem}")))?;
        if port == 0 && matches!(kind, AbilityKind::Tcp | AbilityKind::Http) {
            return Err(Failure::Invalid(format!("port 0 of `{host}` cannot be connected to")));
        }
        if let Host::Address(address) = named
            && kind != AbilityKind::Listen
        {
            self.check_forbidden(kind, host, address, port)?;
        }
        let permitted = |ability: &Ability| match kind {
            AbilityKind::Resolve => ability.permits_name(host),
            _ => ability.kind == kind && ability.permits_host(host, port),
        };
        if !self.abilities.iter().any(permitted) {
            return Err(self.refuse(kind, host, None, port, None));
        }
        Ok(Destination { kind, host: named.to_string(), port })
    }

    /// The addresses of a destination that may be connected to, in the resolver's order. The name is resolved here and
    /// nowhere else, so that what was checked is what is dialled.
    pub(crate) async fn addresses(&self, destination: &Destination) -> Result<Vec<SocketAddr>, Failure> {
        let Destination { kind, host, port } = destination;
        let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, *port)],
            Err(_) => tokio::net::lookup_host((host.as_str(), *port))
                .await
                .map_err(|error| Failure::UnknownName(format!("the name `{host}` has no address: {error}")))?
                .collect(),
        };
        let mut refused = None;
        let mut permitted = Vec::new();
        for address in found {
            let ip = policy::embedded(address.ip());
            if policy::forbidden(ip).is_none() && self.permits_resolved(*kind, host, ip, *port) {
                permitted.push(SocketAddr::new(address.ip().to_canonical(), address.port()));
            } else {
                refused = refused.or(Some(ip));
            }
        }
        match (permitted.is_empty(), refused) {
            (true, Some(ip)) => Err(match policy::forbidden(ip) {
                Some(_) => self
                    .check_forbidden(*kind, host, ip, *port)
                    .err()
                    .unwrap_or_else(|| Failure::Unreachable(host.clone())),
                None => self.refuse(*kind, host, Some(ip), *port, None),
            }),
            (true, None) => Err(Failure::UnknownName(format!("the name `{host}` has no address"))),
            (false, _) => {
                self.observer.allowed(kind.as_str(), &format!("{host}:{port}"));
                Ok(permitted)
            }
        }
    }

    /// Connects to the first address that answers.
    pub(crate) async fn dial(&self, destination: &Destination) -> Result<TcpStream, Failure> {
        let mut problem = String::new();
        for address in self.addresses(destination).await? {
            let error = match tokio::time::timeout(DIAL, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Batches are written whole, so waiting to fill a packet would only add delay.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} s", DIAL.as_secs()),
            };
            problem = format!("{address}: {error}");
        }
        Err(Failure::Unreachable(format!("`{}` cannot be reached; {problem}", destination.host)))
    }

    /// The addresses of a name, for a guest that wants to know.
    pub(crate) async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        let destination = self.check_name(AbilityKind::Resolve, host, 0)?;
        Ok(self.addresses(&destination).await?.iter().map(SocketAddr::ip).collect())
    }

    fn permits_resolved(&self, kind: AbilityKind, host: &str, ip: IpAddr, port: u16) -> bool {
        self.abilities.iter().any(|ability| match kind {
            AbilityKind::Resolve => {
                ability.permits_name(host)
                    && (!is_special(ip)
                        || matches!(&ability.target, Target::Host { host: HostPattern::Exact(named), .. } if named.is_special()))
            }
            _ => ability.kind == kind && ability.permits_resolved(host, ip, port),
        })
    }

    fn check_forbidden(&self, kind: AbilityKind, host: &str, address: IpAddr, port: u16) -> Result<(), Failure> {
        match policy::forbidden(address) {
            Some(reason) => Err(self.refuse(kind, host, Some(address), port, Some(reason))),
            None => Ok(()),
        }
    }

    /// Records a refusal and tells the observer.
    fn refuse(
        &self,
        kind: AbilityKind,
        host: &str,
        address: Option<IpAddr>,
        port: u16,
        forbidden: Option<&str>,
    ) -> Failure {
        let shown = show(host, port);
        let resolved =
            address.filter(|ip| ip.to_string() != host).map(|ip| format!(" (which is {ip})")).unwrap_or_default();
        let verb = match kind {
            AbilityKind::Listen => "listen on",
            AbilityKind::Resolve => "look up",
            AbilityKind::Http => "send HTTP requests to",
            _ => "connect to",
        };
        let guest = &self.guest;
        let code = match kind {
            _ if forbidden.is_some() || !resolved.is_empty() => Code::AddressDenied,
            AbilityKind::Listen => Code::ListenDenied,
            _ if Host::parse(host).is_ok_and(|host| host.is_special()) => Code::LoopbackDenied,
            _ => Code::NetDenied,
        };
        let (message, remedy) = if let Some(reason) = forbidden {
            (
                format!("`{guest}` may not {verb} {shown}{resolved}: {reason} [{code}]."),
                "No grant opens this address. Use another address of the same service.".to_owned(),
            )
        } else if !self.asks_for(kind) {
            (
                format!(
                    "`{guest}` may not {verb} {shown}{resolved}: its component does not ask for `{kind}` [{code}]."
                ),
                format!(
                    "A grant gives only what a component asks for: its author adds a capability `{kind}` to its description."
                ),
            )
        } else {
            (
                format!(
                    "`{guest}` may not {verb} {shown}{resolved}: it is not granted [{code}]. Apply a Grant that names it:"
                ),
                self.grant(kind, host, address, port),
            )
        };
        let refusal = Refusal {
            code,
            guest: guest.clone(),
            kind: kind.to_string(),
            host: host.to_owned(),
            address,
            port,
            message,
            remedy,
        };
        self.refusals.fetch_add(1, Ordering::Relaxed);
        self.observer.denied(&refusal);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal.clone());
        Failure::Denied(Box::new(refusal))
    }

    fn asks_for(&self, kind: AbilityKind) -> bool {
        self.asked.iter().any(|asked| {
            asked.kind == kind.as_str() || (kind == AbilityKind::Resolve && asked.kind == AbilityKind::Tcp.as_str())
        })
    }

    /// The Grant document that would allow it. A name that stands for this machine is granted under the name of this machine.
    fn grant(&self, kind: AbilityKind, host: &str, address: Option<IpAddr>, port: u16) -> String {
        let class = if self.hint.class.is_empty() { "the-class" } else { &self.hint.class };
        let target = match address {
            Some(ip) if is_special(ip) => ip.to_string(),
            _ => host.to_owned(),
        };
        let target = if kind == AbilityKind::Resolve { target } else { show(&target, port) };
        format!(
            "apiVersion: connector.ferrule.dev/v1\nkind: Grant\nmetadata: {{name: allow-{class}}}\nspec:\n  class: {class}\n  allow:\n    - {kind}: \"{target}\""
        )
    }
}

/// A host and port as documents write them.
fn show(host: &str, port: u16) -> String {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match (bare.contains(':'), port) {
        (false, 0) => host.to_owned(),
        (false, _) => format!("{host}:{port}"),
        (true, 0) => format!("[{bare}]"),
        (true, _) => format!("[{bare}]:{port}"),
    }
}

#[cfg(test)]
mod tests;
