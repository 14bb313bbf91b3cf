//! How many of something a guest has open, and at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::{Breach, Limit, Limits};
use crate::observer::{Observer, Traffic};

/// Gives out so many permits at once.
#[derive(Clone)]
pub(crate) struct Quota {
    most: usize,
    used: Arc<AtomicUsize>,
    breach: Breach,
    observer: Arc<dyn Observer>,
}

/// One of them; given back when it is dropped.
#[derive(Debug)]
pub struct Permit(Arc<AtomicUsize>);

/// An open socket of a guest's: it counts as open as long as this is held, and what passes is counted, without its encryption.
pub(super) struct Tally {
    traffic: Arc<Traffic>,
    _permit: Permit,
}

impl Tally {
    pub(super) fn new(permit: Permit, traffic: Arc<Traffic>) -> Self {
        Self { traffic, _permit: permit }
    }

    pub(super) fn received(&self, bytes: usize) {
        self.traffic.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.traffic.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Quota {
    pub(crate) fn new(limit: Limit, limits: &Limits, observer: Arc<dyn Observer>) -> Self {
        let most = usize::try_from(limits.value(limit)).unwrap_or(usize::MAX);
        Self { most, used: Arc::default(), breach: limits.breach(limit), observer }
    }

    /// One more, or that there is none.
    pub(crate) fn take(&self) -> Result<Permit, Breach> {
        let more = |used: usize| (used < self.most).then_some(used + 1);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Permit(self.used.clone())),
            Err(_) => Err(self.refuse()),
        }
    }

    /// Tells that there is no more.
    pub(crate) fn refuse(&self) -> Breach {
        self.observer.limited(&self.breach, 1);
        self.breach.clone()
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::Unobserved;

    #[test]
    fn what_is_given_back_can_be_had_again() {
        let quota = Quota::new(Limit::Sockets, &Limits { sockets: 2, ..Limits::default() }, Arc::new(Unobserved));
        let (one, _two) = (quota.take().unwrap(), quota.take().unwrap());
        assert_eq!(
            quota.take().unwrap_err().to_string(),
            "the guest is at its limit of open sockets: 2; change it with `limits.sockets`"
        );
        drop(one);
        assert!(quota.take().is_ok());
    }
}
