//! What guests reached for and what was decided: the newest decisions of all sessions, each target once, with how often.
//!
//! It is bounded, and no denial is lost from the counts: what is let go of goes on to count.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferrule_host::Decision;
use ferrule_model::capability::{AbilityKind, Allowance};

use crate::shared::now_ms;

/// Targets that are kept of all sessions together.
const KEPT: usize = 4_096;

/// Targets that are kept of one session. Threat: a guest that reaches for ever new ones drives those of others out.
const KEPT_OF_ONE: usize = 256;

/// What stands for the targets of a session that are more than are kept.
const OTHERS: &str = "(others)";

/// One target of one session, and what was decided about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// When first, in milliseconds since 1970.
    pub first_ms: i64,
    /// When last.
    pub last_ms: i64,
    /// How often.
    pub count: u64,
    /// The stream, or `pipeline/step`.
    pub guest: Arc<str>,
    /// The class or function.
    pub class: String,
    /// The digest of the component.
    pub component: String,
    /// Whether it was allowed.
    pub allowed: bool,
    /// The interface that it came by.
    pub interface: &'static str,
    /// What it wanted to do.
    pub kind: AbilityKind,
    /// The name or address that it asked for.
    pub host: String,
    /// The address that was judged last, once the name was resolved.
    pub address: Option<IpAddr>,
    /// The port; 0 where there is none.
    pub port: u16,
    /// What decided.
    pub rule: String,
    /// The entry of a grant that would allow it, if it was refused and one would.
    pub words: Option<Allowance>,
}

/// What is known of all decisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// Targets, the one that was last reached for last.
    pub targets: Vec<Audited>,
    /// Every denial since the start, by session and kind; those of targets that are no longer kept too.
    pub denied: BTreeMap<(Arc<str>, AbilityKind), u64>,
}

/// Keeps what was decided. One for all sessions of a flow.
#[derive(Debug, Default)]
pub struct Audit(Mutex<Ledger>);

#[derive(Debug, Default)]
struct Ledger {
    targets: HashMap<Key, Audited>,
    denied: BTreeMap<(Arc<str>, AbilityKind), u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    guest: Arc<str>,
    allowed: bool,
    interface: &'static str,
    kind: AbilityKind,
    host: String,
    port: u16,
    rule: String,
}

impl Audit {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known now.
    pub fn report(&self) -> AuditReport {
        let ledger = self.ledger();
        let mut targets: Vec<_> = ledger.targets.values().cloned().collect();
        targets.sort_by(|one, two| (one.last_ms, &one.guest, &one.host).cmp(&(two.last_ms, &two.guest, &two.host)));
        AuditReport { targets, denied: ledger.denied.clone() }
    }

    /// Takes a decision down, and tells the log of it: at first, and whenever it was told as often again.
    pub(crate) fn decided(&self, guest: &Arc<str>, decision: &Decision) {
        let count = self.ledger().count(guest, decision);
        if !count.is_power_of_two() {
            return;
        }
        let Decision { class, component, interface, kind, host, address, port, rule, words, refusal } = decision;
        let (allowed, address) = (refusal.is_none(), address.map(|address| address.to_string()));
        if allowed && count > 1 {
            return;
        }
        let words = words.as_ref().map(ToString::to_string);
        tracing::info!(
            target: "ferrule::audit",
            stream = &**guest, class, component, allowed, count, interface,
            kind = kind.as_str(), host, address, port, rule, words,
            "{}", if allowed { "allowed" } else { "denied" }
        );
    }
}

impl Ledger {
    /// How often it was decided so, this time included.
    fn count(&mut self, guest: &Arc<str>, decision: &Decision) -> u64 {
        let allowed = decision.refusal.is_none();
        if !allowed {
            *self.denied.entry((guest.clone(), decision.kind)).or_default() += 1;
        }
        let mut key = Key {
            guest: guest.clone(),
            allowed,
            interface: decision.interface,
            kind: decision.kind,
            host: decision.host.clone(),
            port: decision.port,
            rule: decision.rule.clone(),
        };
        let now = now_ms();
        if !self.targets.contains_key(&key) {
            if self.targets.keys().filter(|other| other.guest == key.guest).count() >= KEPT_OF_ONE {
                key = Key { host: OTHERS.to_owned(), port: 0, rule: String::new(), ..key };
            }
            if !self.targets.contains_key(&key) && self.targets.len() >= KEPT {
                let oldest = self.targets.iter().min_by_key(|(_, target)| target.last_ms).map(|(key, _)| key.clone());
                oldest.and_then(|oldest| self.targets.remove(&oldest));
            }
        }
        let target = self.targets.entry(key).or_insert_with_key(|key| Audited {
            first_ms: now,
            last_ms: now,
            count: 0,
            guest: key.guest.clone(),
            class: String::new(),
            component: String::new(),
            allowed,
            interface: key.interface,
            kind: key.kind,
            host: key.host.clone(),
            address: None,
            port: key.port,
            rule: key.rule.clone(),
            words: None,
        });
        target.count += 1;
        target.last_ms = now;
        target.class.clone_from(&decision.class);
        target.component.clone_from(&decision.component);
        if target.host != OTHERS {
            target.address = decision.address;
            target.words.clone_from(&decision.words);
        }
        target.count
    }
}

#[cfg(test)]
mod tests {
    use ferrule_host::Refusal;
    use ferrule_model::Code;

    use super::*;

    fn decision(host: String, allowed: bool) -> Decision {
        let refusal = Refusal {
            code: Code::NetDenied,
            guest: "s".into(),
            kind: "tcp".into(),
            host: host.clone(),
            address: None,
            port: 1,
            message: String::new(),
            remedy: String::new(),
        };
        Decision {
            class: "mqtt".into(),
            component: "sha256:1".into(),
            interface: "ferrule:connector/net",
            kind: AbilityKind::Tcp,
            host,
            address: None,
            port: 1,
            rule: if allowed { "tcp: a:1" } else { "not granted" }.to_owned(),
            words: (!allowed).then(|| Allowance::new(AbilityKind::Tcp, "a:1")),
            refusal: (!allowed).then_some(refusal),
        }
    }

    fn tell(audit: &Audit, guest: &str, host: &str, allowed: bool) {
        audit.decided(&guest.into(), &decision(host.to_owned(), allowed));
    }

    #[test]
    fn each_target_stands_once_with_its_count() {
        let audit = Audit::default();
        for _ in 0..3 {
            tell(&audit, "s", "a", false);
        }
        tell(&audit, "s", "a", true);
        tell(&audit, "t", "a", false);
        let report = audit.report();
        let mut counts: Vec<_> =
            report.targets.iter().map(|target| (&*target.guest, target.allowed, target.count)).collect();
        counts.sort_unstable();
        assert_eq!(counts, [("s", false, 3), ("s", true, 1), ("t", false, 1)]);
        let words: Vec<_> = report.targets.iter().map(|target| target.words.is_some()).collect();
        assert_eq!(words.iter().filter(|words| **words).count(), 2);
        assert_eq!(report.denied.values().sum::<u64>(), 4);
    }

    #[test]
    fn no_denial_is_lost_however_many_targets_there_are() {
        let audit = Audit::default();
        for number in 0..1_000 {
            tell(&audit, "noisy", &format!("h{number}"), false);
        }
        tell(&audit, "quiet", "a", false);
        let report = audit.report();
        let of =
            |guest: &str| report.targets.iter().filter(|target| &*target.guest == guest).map(|t| t.count).sum::<u64>();
        assert_eq!((of("noisy"), of("quiet")), (1_000, 1));
        assert!(report.targets.len() <= KEPT_OF_ONE + 2, "{}", report.targets.len());
        assert!(
            report.targets.iter().any(|target| target.host == OTHERS && target.count == 1_000 - KEPT_OF_ONE as u64)
        );

        for guest in 0..(2 * KEPT) {
            tell(&audit, &format!("g{guest}"), "a", false);
        }
        let report = audit.report();
        assert_eq!(report.targets.len(), KEPT);
        assert_eq!(report.denied.values().sum::<u64>(), 1_001 + 2 * KEPT as u64);
    }
}
