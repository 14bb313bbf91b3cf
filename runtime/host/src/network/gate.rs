//! The one place that decides what a guest may reach: by name, then by every address that the name stands for.
//!
//! Each interface comes in by a [`Door`] of its own, is judged by the same rules, and leaves the same trace.

mod refusal;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ferrule_model::capability::{AbilityKind, Host, Rules, Verdict};
use ferrule_model::component::Capability;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::quota::{Permit, Quota};
use super::tls::{Attachment, Attachments, Talk, Tls, TlsOptions};
use crate::engine::Around;
use crate::error::Refusal;
use crate::guest::{GrantHint, Identity};
use crate::limits::{Limit, Limits};
use crate::observer::{Decision, Observer, Traffic};

/// How long one address may take to answer. Threat: an address that swallows packets holds up the others of the name.
const DIAL: Duration = Duration::from_secs(10);

/// Why a connection cannot be had, as the guest is told.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    Denied(Box<Refusal>),
    UnknownName(String),
    Unreachable(String),
    /// As many as there may be are open.
    Limited(String),
    Unsupported(String),
    Invalid(String),
}

impl Failure {
    /// For a person.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Denied(refusal) => &refusal.message,
            Self::UnknownName(message)
            | Self::Unreachable(message)
            | Self::Limited(message)
            | Self::Unsupported(message)
            | Self::Invalid(message) => message,
        }
    }
}

/// Where a guest comes in: the interface, as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Net,
    Tcp,
    Udp,
    Lookup,
    Http,
}

impl Door {
    pub(crate) fn interface(self) -> &'static str {
        match self {
            Self::Net => "ferrule:connector/net",
            Self::Tcp => "wasi:sockets/tcp",
            Self::Udp => "wasi:sockets/udp",
            Self::Lookup => "wasi:sockets/ip-name-lookup",
            Self::Http => "wasi:http/outgoing-handler",
        }
    }
}

/// What a guest wants to do where.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) door: Door,
    pub(crate) kind: AbilityKind,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// Addresses of which names are remembered. Threat: a guest looks names up for ever.
const GIVEN_KEPT: usize = 4_096;

pub(crate) struct Gate {
    guest: String,
    hint: GrantHint,
    rules: Rules,
    asked: Vec<Capability>,
    observer: Arc<dyn Observer>,
    around: Arc<Around>,
    tls: Tls,
    attached: Attachments,
    component: String,
    /// The names for which each address was given to this guest, so that sockets of WASI may use it.
    given: Mutex<BTreeMap<IpAddr, BTreeSet<Host>>>,
    refusals: AtomicU64,
    last: Mutex<Option<Refusal>>,
    sockets: Quota,
    requests: Quota,
    lookups: Quota,
}

/// A wish that passed the check by name.
#[derive(Clone, Debug)]
pub(crate) struct Destination(Wish);

impl Destination {
    pub(crate) fn host(&self) -> &Host {
        &self.0.host
    }

    pub(crate) fn kind(&self) -> AbilityKind {
        self.0.kind
    }
}

/// As documents write it.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(&self.0.host.to_string(), self.0.port))
    }
}

impl Gate {
    pub(crate) fn new(identity: Identity, limits: &Limits) -> Self {
        let quota = |limit| Quota::new(limit, limits, identity.observer.clone());
        Self {
            sockets: quota(Limit::Sockets),
            requests: quota(Limit::Requests),
            lookups: quota(Limit::Lookups),
            guest: identity.name,
            hint: identity.hint,
            rules: identity.rules,
            asked: identity.asked,
            observer: identity.observer,
            around: identity.around,
            tls: identity.tls,
            attached: identity.attached,
            component: identity.component,
            given: Mutex::default(),
            refusals: AtomicU64::new(0),
            last: Mutex::new(None),
        }
    }

    /// One more socket, or why there is none.
    pub(crate) fn socket(&self) -> Result<Permit, Failure> {
        self.sockets.take().map_err(|breach| Failure::Limited(breach.to_string()))
    }

    /// How many sockets, and what to say when there are more.
    pub(crate) fn sockets(&self) -> &Quota {
        &self.sockets
    }

    /// How many look-ups, and what to say when there are more.
    pub(crate) fn lookups(&self) -> &Quota {
        &self.lookups
    }

    /// One more HTTP request, or why there is none.
    pub(crate) fn request(&self) -> Result<Permit, Failure> {
        self.requests.take().map_err(|breach| Failure::Limited(breach.to_string()))
    }

    /// Where the bytes to and from a destination are counted.
    pub(crate) fn traffic(&self, destination: &Destination) -> Arc<Traffic> {
        self.observer.traffic(&show(&destination.0.host.to_string(), destination.0.port))
    }

    /// Where the bytes of those are counted who call at a port.
    pub(crate) fn traffic_at(&self, local: SocketAddr) -> Arc<Traffic> {
        self.observer.traffic(&format!("listen {local}"))
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
    pub(crate) fn check_name(
        &self,
        door: Door,
        kind: AbilityKind,
        host: &str,
        port: u16,
    ) -> Result<Destination, Failure> {
        let named = Host::parse(host).map_err(|problem| Failure::Invalid(format!("`{host:.300}`: {problem}")))?;
        if port == 0 && !matches!(kind, AbilityKind::Listen | AbilityKind::Resolve) {
            return Err(Failure::Invalid(format!("port 0 of `{host}` cannot be connected to")));
        }
        let wish = Wish { door, kind, host: named, port };
        match self.rules.name(kind, &wish.host, port) {
            Verdict::Allowed(ability) if kind == AbilityKind::Listen => {
                self.allow(&wish, None, &ability.to_string());
                Ok(Destination(wish))
            }
            Verdict::Allowed(_) => Ok(Destination(wish)),
            verdict => Err(self.refuse(&wish, None, verdict)),
        }
    }

    /// The addresses of a destination that may be connected to, in the resolver's order. The name is resolved here and
    /// nowhere else, so that what was checked is what is dialled.
    pub(crate) async fn addresses(&self, destination: &Destination) -> Result<Vec<SocketAddr>, Failure> {
        let wish = &destination.0;
        let found: Vec<SocketAddr> = match &wish.host {
            Host::Address(address) => vec![SocketAddr::new(*address, wish.port)],
            Host::Name(name) => tokio::net::lookup_host((name.as_str(), wish.port))
                .await
                .map_err(|error| Failure::UnknownName(format!("the name `{name}` has no address: {error}")))?
                .collect(),
        };
        let mut refused = None;
        let mut permitted = Vec::new();
        for address in found.iter().map(SocketAddr::ip) {
            match self.judge(wish, address) {
                Verdict::Allowed(ability) => {
                    if permitted.is_empty() {
                        self.allow(wish, Some(address), &ability.to_string());
                    }
                    permitted.push(SocketAddr::new(address.to_canonical(), wish.port));
                }
                verdict => refused = refused.or(Some((address, verdict))),
            }
        }
        match (permitted.is_empty(), refused) {
            (true, Some((address, verdict))) => Err(self.refuse(wish, Some(address), verdict)),
            (true, None) => Err(Failure::UnknownName(format!("the name `{}` has no address", wish.host))),
            (false, _) => Ok(permitted),
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
        Err(Failure::Unreachable(format!("`{}` cannot be reached; {problem}", destination.0.host)))
    }

    /// Encrypts a connection that was [dialled](Self::dial).
    pub(crate) async fn encrypt(
        &self,
        destination: &Destination,
        options: &TlsOptions,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Talk), Failure> {
        self.tls.encrypt(destination, self.attachment(destination), options, &self.hint.class, stream).await
    }

    /// What the host adds to what goes there.
    pub(crate) fn attachment(&self, destination: &Destination) -> Option<&Attachment> {
        let Destination(wish) = destination;
        self.attached.find(wish.kind, &wish.host, wish.port)
    }

    /// The addresses of a name, for a guest that wants to know. It may use them with sockets of WASI from now on.
    pub(crate) async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        let destination = self.check_name(Door::Net, AbilityKind::Resolve, host, 0)?;
        let addresses: Vec<IpAddr> = self.addresses(&destination).await?.iter().map(SocketAddr::ip).collect();
        addresses.iter().for_each(|address| self.give(*address, &destination.0.host));
        Ok(addresses)
    }

    /// An address that a look-up of WASI found for `host`: whether the guest gets to see it.
    pub(crate) fn found(&self, host: &Host, address: IpAddr) -> bool {
        let wish = Wish { door: Door::Lookup, kind: AbilityKind::Resolve, host: host.clone(), port: 0 };
        match self.judge(&wish, address) {
            Verdict::Allowed(ability) => {
                self.allow(&wish, Some(address), &ability.to_string());
                self.give(address, host);
                true
            }
            verdict => {
                self.refuse(&wish, Some(address), verdict);
                false
            }
        }
    }

    /// Whether an address may be used that the guest names itself: it is granted literally, or was given to it for a name
    /// that may be connected to.
    pub(crate) fn check_address(&self, door: Door, kind: AbilityKind, address: SocketAddr) -> bool {
        let wish = Wish { door, kind, host: Host::Address(address.ip().to_canonical()), port: address.port() };
        let verdict = self.judge_address(&wish);
        match verdict {
            Verdict::Allowed(ability) => {
                self.allow(&wish, Some(address.ip()), &ability.to_string());
                true
            }
            verdict => {
                self.refuse(&wish, None, verdict);
                false
            }
        }
    }

    /// The same, for what comes from outside and is not of the guest's doing: it leaves no trace.
    pub(crate) fn expects(&self, door: Door, kind: AbilityKind, address: SocketAddr) -> bool {
        let wish = Wish { door, kind, host: Host::Address(address.ip().to_canonical()), port: address.port() };
        matches!(self.judge_address(&wish), Verdict::Allowed(_))
    }

    /// Tells what the guest has from the start: folders, and variables.
    pub(crate) fn tell_beforehand(&self) {
        for ability in &self.rules.allowed {
            let interface = match ability.kind {
                AbilityKind::Read | AbilityKind::Write => "wasi:filesystem/preopens",
                AbilityKind::Env => "wasi:cli/environment",
                _ => continue,
            };
            self.observer.decided(&Decision {
                class: self.hint.class.clone(),
                component: self.component.clone(),
                interface,
                kind: ability.kind,
                host: ability.allowance().target,
                address: None,
                port: 0,
                rule: ability.to_string(),
                words: None,
                refusal: None,
            });
        }
    }

    /// Whether any ability is of one of these kinds.
    pub(crate) fn has(&self, kinds: &[AbilityKind]) -> bool {
        self.rules.allowed.iter().any(|ability| kinds.contains(&ability.kind))
    }

    fn given(&self) -> MutexGuard<'_, BTreeMap<IpAddr, BTreeSet<Host>>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give(&self, address: IpAddr, host: &Host) {
        let mut given = self.given();
        if given.values().map(BTreeSet::len).sum::<usize>() < GIVEN_KEPT {
            given.entry(address.to_canonical()).or_default().insert(host.clone());
        }
    }

    /// What the rules say to an address that the wish's host stands for. The server's own doors are closed to all guests.
    fn judge(&self, wish: &Wish, address: IpAddr) -> Verdict<'_> {
        if wish.kind != AbilityKind::Resolve && self.around.is_own_door(SocketAddr::new(address, wish.port)) {
            return Verdict::Never("there this server listens itself");
        }
        self.rules.address(wish.kind, &wish.host, address, wish.port)
    }

    fn judge_address(&self, wish: &Wish) -> Verdict<'_> {
        let Host::Address(address) = wish.host else { return Verdict::NotGranted };
        let verdict = match self.rules.name(wish.kind, &wish.host, wish.port) {
            Verdict::Allowed(_) => self.judge(wish, address),
            verdict => verdict,
        };
        if verdict != Verdict::NotGranted {
            return verdict;
        }
        let names = self.given().get(&address).cloned().unwrap_or_default();
        for host in names {
            if let Verdict::Allowed(_) = self.rules.name(wish.kind, &host, wish.port) {
                let named = Wish { host, ..wish.clone() };
                if let allowed @ Verdict::Allowed(_) = self.judge(&named, address) {
                    return allowed;
                }
            }
        }
        Verdict::NotGranted
    }

    fn allow(&self, wish: &Wish, address: Option<IpAddr>, rule: &str) {
        self.observer.decided(&self.decision(wish, address, rule.to_owned()));
    }

    /// Records a refusal and tells the observer.
    fn refuse(&self, wish: &Wish, address: Option<IpAddr>, verdict: Verdict<'_>) -> Failure {
        let (refusal, words) = self.worded(wish, address, verdict);
        let rule = match verdict {
            Verdict::Allowed(ability) => ability.to_string(),
            Verdict::Denied(denial) => format!("deny {denial}"),
            Verdict::Never(reason) => format!("never: {reason}"),
            Verdict::NotGranted => "not granted".to_owned(),
        };
        self.refusals.fetch_add(1, Ordering::Relaxed);
        let refusal_kept = Some(refusal.clone());
        self.observer.decided(&Decision { words, refusal: refusal_kept.clone(), ..self.decision(wish, address, rule) });
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = refusal_kept;
        Failure::Denied(Box::new(refusal))
    }

    fn decision(&self, wish: &Wish, address: Option<IpAddr>, rule: String) -> Decision {
        Decision {
            class: self.hint.class.clone(),
            component: self.component.clone(),
            interface: wish.door.interface(),
            kind: wish.kind,
            host: wish.host.to_string(),
            address,
            port: wish.port,
            rule,
            words: None,
            refusal: None,
        }
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
