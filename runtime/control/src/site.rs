//! Which service domain this runtime is.

use ferrule_model::capability::Allowance;
use ferrule_model::connector::{Labels, ServiceDomainSpec};
use ferrule_model::{Code, Kind, Ref, version};

use crate::finding::Problem;
use crate::log::LogOffer;
use crate::secrets::Vault;
use crate::snapshot::Snapshot;

/// The version of a KPS service domain that this runtime stands in for: the first with connectors.
pub const SERVICE_DOMAIN_VERSION: &str = "2.3.0";

/// The place that this runtime is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The name or id of the service domain. None: it stands in for all of them, and runs whatever is asked for anywhere.
    pub service_domain: Option<String>,
    /// What a class's lowest service domain version is compared with.
    pub version: String,
    /// What the log of this runtime gives.
    pub log: LogOffer,
    /// Opens the secrets of this runtime.
    pub vault: Vault,
    /// What nobody may reach here, whatever is granted.
    pub deny: Vec<Allowance>,
    /// Whether everything that is asked for is granted, as on the machine of somebody who wants to see what is used.
    pub learn: bool,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            service_domain: None,
            version: SERVICE_DOMAIN_VERSION.to_owned(),
            log: LogOffer::default(),
            vault: Vault::default(),
            deny: Vec::new(),
            learn: false,
        }
    }
}

/// Where something runs, as streams and configs say it.
pub(crate) struct Placement<'a> {
    pub(crate) only: &'a [Ref],
    pub(crate) except: &'a [Ref],
    pub(crate) selectors: &'a Labels,
}

impl Site {
    /// Whether something placed so is for this site. No list at all means every service domain of the project.
    pub(crate) fn runs(&self, snapshot: &Snapshot, placement: &Placement<'_>) -> bool {
        let Some(here) = &self.service_domain else { return true };
        let is_here = |reference: &Ref| {
            let found = snapshot.candidates(Kind::ServiceDomain, reference, "");
            reference.to_string() == *here
                || found.iter().any(|domain| domain.name() == here || domain.uid().as_str() == here)
        };
        if placement.except.iter().any(is_here) {
            return false;
        }
        if !placement.only.is_empty() {
            return placement.only.iter().any(is_here);
        }
        if placement.selectors.is_empty() {
            return true;
        }
        let domain = snapshot.candidates(Kind::ServiceDomain, &Ref::parse(here), "").into_iter().next();
        let labels = domain.and_then(|domain| domain.typed::<ServiceDomainSpec>().ok()).unwrap_or_default().labels;
        placement.selectors.iter().all(|wanted| labels.iter().any(|label| label == wanted))
    }

    /// Whether a class that needs this version can run here.
    pub(crate) fn is_new_enough(&self, class: &str, needs: Option<&str>) -> Result<(), Problem> {
        match needs {
            Some(needs) if version::compare(needs, &self.version).is_gt() => Err(Problem::new(
                "ServiceDomainTooOld",
                Code::ServiceDomainTooOld,
                format!("class {class} needs service domain version {needs}; this runtime stands for {}", self.version),
            )),
            _ => Ok(()),
        }
    }
}
