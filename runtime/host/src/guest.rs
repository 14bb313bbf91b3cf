//! The state of one guest: who it is, what it was granted, and what it holds.

use std::collections::HashSet;
use std::sync::Arc;

use ferrule_model::Code;
use ferrule_model::capability::{Ability, AbilityKind, Rules, Target};
use ferrule_model::component::Capability;
use ferrule_model::redact::Redactor;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::engine::Around;
use crate::error::CallError;
use crate::guards::Guards;
use crate::limits::{Growth, Limits};
use crate::log_gate::LogGate;
use crate::network::{Attachments, Gate, HttpSender, Lookups, Sockets, Tls, open_sockets};
use crate::observer::{Health, Level, Observer};
use crate::rate::Rate;
use crate::stdio::{Lines, Stdout};
use crate::wake::WakeHandle;

/// What the text of a refusal names, so that it can say what to write where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantHint {
    /// The class or function that a grant would be for.
    pub class: String,
}

pub(crate) struct Guest {
    pub(crate) table: ResourceTable,
    pub(crate) growth: Growth,
    pub(crate) limits: Limits,
    pub(crate) wake: WakeHandle,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) log: Arc<LogGate>,
    pub(crate) gate: Arc<Gate>,
    /// Names of metrics and alerts that were used, to bound them.
    pub(crate) series: HashSet<String>,
    /// How often it told its status.
    pub(crate) updates: Rate,
    /// What it said of its health when it had said too much.
    pub(crate) unsaid: Option<Health>,
    /// Sockets of WASI that were made.
    pub(crate) sockets: Sockets,
    /// Look-ups of WASI that are under way.
    pub(crate) lookups: Lookups,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    sender: HttpSender,
}

/// Who a guest is and what it may do.
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) hint: GrantHint,
    pub(crate) rules: Rules,
    pub(crate) asked: Vec<Capability>,
    pub(crate) observer: Arc<dyn Observer>,
    /// Masks what it was given of secrets. The observer hears it masked.
    pub(crate) redactor: Redactor,
    pub(crate) around: Arc<Around>,
    pub(crate) tls: Tls,
    pub(crate) attached: Attachments,
    /// The digest of its component.
    pub(crate) component: String,
    pub(crate) guards: Guards,
}

impl Guest {
    pub(crate) fn new(identity: Identity, limits: &Limits) -> Result<Self, CallError> {
        let mut wasi = WasiCtxBuilder::new();
        let redactor = identity.redactor.clone();
        let log = Arc::new(LogGate::new(identity.observer.clone(), limits, identity.guards, redactor));
        wasi.stdout(Stdout(Arc::new(Lines::new(log.clone(), Level::Info))))
            .stderr(Stdout(Arc::new(Lines::new(log.clone(), Level::Warn))));
        open_folders(&mut wasi, &identity.rules.allowed)?;
        show_variables(&mut wasi, &identity);
        let guest = Self::with_wasi(identity, limits, wasi, log);
        guest.gate.tell_beforehand();
        Ok(guest)
    }

    /// A guest that has what `wasi` gives it, and the network as far as its rules go.
    pub(crate) fn with_wasi(identity: Identity, limits: &Limits, mut wasi: WasiCtxBuilder, log: Arc<LogGate>) -> Self {
        let observer = identity.observer.clone();
        let gate = Arc::new(Gate::new(identity, limits));
        open_sockets(&mut wasi, &gate);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Self {
            table,
            growth: Growth::new(limits),
            limits: limits.clone(),
            wake: WakeHandle::new(),
            observer,
            log,
            sender: HttpSender::new(gate.clone(), limits.body_bytes),
            gate,
            series: HashSet::new(),
            updates: Rate::new(limits.status_updates_per_second),
            unsaid: None,
            sockets: Sockets::default(),
            lookups: Lookups::default(),
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
        }
    }
}

/// Opens each granted folder once, under the path that the grant names. A folder granted for writing can be read as well:
/// WASI has no way to write without it.
fn open_folders(wasi: &mut WasiCtxBuilder, abilities: &[Ability]) -> Result<(), CallError> {
    let writable: Vec<_> = folders(abilities, AbilityKind::Write).collect();
    let readable = folders(abilities, AbilityKind::Read).filter(|folder| !writable.contains(folder));
    let all = writable
        .iter()
        .map(|folder| (*folder, FsPerms::ReadWrite))
        .chain(readable.map(|folder| (folder, FsPerms::ReadOnly)));
    for (folder, permissions) in all {
        // Opened through cap-std first, so that what cannot be opened is told as what it is.
        cap_std::fs::Dir::open_ambient_dir(folder, cap_std::ambient_authority())
            .and_then(|_| wasi.preopened_dir(folder, folder, permissions).map_err(std::io::Error::other))
            .map_err(|error| {
                let message = format!(
                    "the granted folder `{folder}` cannot be opened: {error}. Make the folder, or correct the grant"
                );
                CallError::Host { code: Code::Unreadable, message }
            })?;
    }
    Ok(())
}

/// Shows the variables that are granted by name, as far as they are set.
fn show_variables(wasi: &mut WasiCtxBuilder, identity: &Identity) {
    for ability in identity.rules.allowed.iter().filter(|ability| ability.kind == AbilityKind::Env) {
        if let Target::Name(name) = &ability.target
            && let Some(value) = identity.around.environment.get(name)
        {
            wasi.env(name, value);
        }
    }
}

fn folders(abilities: &[Ability], kind: AbilityKind) -> impl Iterator<Item = &str> {
    abilities.iter().filter(move |ability| ability.kind == kind).filter_map(|ability| match &ability.target {
        Target::Folder(folder) => Some(folder.as_str()),
        Target::Host { .. } | Target::Name(_) => None,
    })
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.sender }
    }
}
