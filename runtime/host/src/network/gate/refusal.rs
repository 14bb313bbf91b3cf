//! The words of a refusal: who, what, why, and what to write where.

use std::net::IpAddr;

use ferrule_model::Code;
use ferrule_model::capability::{AbilityKind, Allowance, Range, Verdict};

use super::{Gate, Wish, show};
use crate::error::Refusal;

impl Gate {
    /// The refusal of a wish, and the entry of a grant that would allow it, if one would.
    pub(super) fn worded(
        &self,
        wish: &Wish,
        address: Option<IpAddr>,
        verdict: Verdict<'_>,
    ) -> (Refusal, Option<Allowance>) {
        let Wish { kind, host, port, .. } = wish;
        let host_text = host.to_string();
        let shown = show(&host_text, *port);
        let resolved =
            address.filter(|ip| ip.to_string() != host_text).map(|ip| format!(" (which is {ip})")).unwrap_or_default();
        let verb = match kind {
            AbilityKind::Listen => "listen on",
            AbilityKind::Resolve => "look up",
            AbilityKind::Http | AbilityKind::Https => "send HTTP requests to",
            AbilityKind::Udp => "send datagrams to",
            _ => "connect to",
        };
        let guest = &self.guest;
        let code = match kind {
            _ if matches!(verdict, Verdict::Never(_)) || !resolved.is_empty() => Code::AddressDenied,
            AbilityKind::Listen => Code::ListenDenied,
            _ if host.range() == Range::Loopback => Code::LoopbackDenied,
            _ => Code::NetDenied,
        };
        let mut words = None;
        let (why, remedy) = match verdict {
            Verdict::Never(reason) => (
                format!("{reason} [{code}]."),
                "No grant opens this address. Use another address of the same service.".to_owned(),
            ),
            Verdict::Denied(denial) => (
                format!("it is denied by `{denial}` [{code}]."),
                "A denial wins over every grant. It stands in a Grant with `deny`, or in the server's configuration."
                    .to_owned(),
            ),
            _ if !self.asks_for(*kind) => (
                format!("its component does not ask for `{kind}` [{code}]."),
                format!(
                    "A grant gives only what a component asks for: its author adds a capability `{kind}` to its description."
                ),
            ),
            _ => {
                let entry = entry(wish, address);
                let document = self.document(&entry);
                words = Some(entry);
                (format!("it is not granted [{code}]. Apply a Grant that names it:"), document)
            }
        };
        let refusal = Refusal {
            code,
            guest: guest.clone(),
            kind: kind.to_string(),
            host: host_text,
            address,
            port: *port,
            message: format!("`{guest}` may not {verb} {shown}{resolved}: {why}"),
            remedy,
        };
        (refusal, words)
    }

    fn asks_for(&self, kind: AbilityKind) -> bool {
        self.asked
            .iter()
            .filter_map(|asked| AbilityKind::parse(&asked.kind).ok())
            .any(|asked| asked.includes(kind) || (kind == AbilityKind::Resolve && asked.looks_up()))
    }

    /// The Grant document with this entry.
    fn document(&self, entry: &Allowance) -> String {
        let class = if self.hint.class.is_empty() { "the-class" } else { &self.hint.class };
        let Allowance { kind, target } = entry;
        format!(
            "apiVersion: connector.ferrule.dev/v1\nkind: Grant\nmetadata: {{name: allow-{class}}}\nspec:\n  class: {class}\n  allow:\n    - {kind}: \"{target}\""
        )
    }
}

/// What would allow it. A name that stands for this machine is granted under the name of this machine.
fn entry(wish: &Wish, address: Option<IpAddr>) -> Allowance {
    let host = match address {
        Some(ip) if Range::of(ip) == Range::Loopback => ip.to_string(),
        _ => wish.host.to_string(),
    };
    let target = if wish.kind == AbilityKind::Resolve { host } else { show(&host, wish.port) };
    Allowance::new(wish.kind, target)
}
