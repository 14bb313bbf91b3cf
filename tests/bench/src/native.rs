//! Guests without a sandbox: the same work as the WebAssembly ones, through the same trait, so that only the boundary differs.

mod edit;
mod ends;
mod made;

use std::sync::Arc;

use async_trait::async_trait;
use ferrule_flow::guest::{Artifact, Guest};
use ferrule_flow::plan::{ComponentRef, GuestPlan};
use ferrule_host::{CallError, Observer};
use ferrule_model::component::{Columns, Description};

pub(crate) use edit::{Editor, Pass};
pub(crate) use ends::{Blackhole, Checker, Generator, Look};

/// Makes a native guest; `Clone` because every session gets its own.
pub(crate) trait Native: Clone + Send + Sync + 'static {
    /// Its name, which is its digest too.
    const NAME: &'static str;

    /// A guest for one session.
    fn guest(&self, observer: Arc<dyn Observer>) -> Box<dyn Guest>;
}

struct NativeArtifact<N> {
    description: Description,
    native: N,
}

#[async_trait]
impl<N: Native> Artifact for NativeArtifact<N> {
    fn digest(&self) -> &str {
        N::NAME
    }

    fn description(&self) -> &Description {
        &self.description
    }

    async fn instantiate(
        &self,
        _: &str,
        _: &GuestPlan,
        observer: Arc<dyn Observer>,
    ) -> Result<Box<dyn Guest>, CallError> {
        Ok(self.native.guest(observer))
    }
}

/// A session of a native guest.
pub(crate) fn plan<N: Native>(native: N) -> GuestPlan {
    let description = Description { name: N::NAME.into(), reads: Columns::PAYLOAD, ..Description::default() };
    GuestPlan::new(ComponentRef::new(Arc::new(NativeArtifact { description, native })))
}
