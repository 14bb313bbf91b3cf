//! The two wasmtime engines and the clock that makes guests give way.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::artifact::Component;
use crate::error::{HostError, LoadError};
use crate::guest::Guest;
use crate::limits::{self, CodeLimits};
use crate::linker;
use crate::network::Tls;

/// How often a computing guest gives way to others, and so how exactly computing time is measured.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// The stack of one call into a guest. Guests written in Rust need a few KiB; interpreters recurse.
const STACK_BYTES: usize = 512 << 10;

/// How an engine is set up.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Instances of the dense engine that can live at once. Every slot costs two memory mappings from the start and a
    /// running stream six, and Linux allows a process 65,530: so 10,000 is about the most.
    pub instances: u32,
    /// What is around the guests.
    pub around: Around,
    /// What an artifact may cost to compile.
    pub code: CodeLimits,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { instances: 4_000, around: Around::default(), code: CodeLimits::default() }
    }
}

/// What is around the guests of an engine.
#[derive(Clone, Default)]
pub struct Around {
    /// Where this process listens itself: no guest may connect there.
    pub doors: Vec<SocketAddr>,
    /// The variables that a guest can be granted to see, by name.
    pub environment: BTreeMap<String, String>,
}

impl fmt::Debug for Around {
    /// Without the environment, in which people keep secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Around").field("doors", &self.doors).finish_non_exhaustive()
    }
}

impl Around {
    /// Whether this process listens there itself.
    pub(crate) fn is_own_door(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        // Only an address of this machine can be bound. The port is any, and the socket is gone at once.
        let is_here = || UdpSocket::bind((ip, 0)).is_ok();
        self.doors.iter().any(|door| {
            let own = door.ip().to_canonical();
            door.port() == address.port() && (own == ip || (own.is_unspecified() && is_here()))
        })
    }
}

/// Which of the two engines runs a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EngineKind {
    /// Pooled slots with at most 64 MiB of memory: thousands of small guests.
    Dense,
    /// Memory as needed: interpreters and other large guests.
    Roomy,
}

impl EngineKind {
    /// The name that a description uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Roomy => "roomy",
        }
    }
}

pub(crate) struct Parts {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) linker: Linker<Guest>,
}

struct Inner {
    dense: Parts,
    roomy: Parts,
    around: Arc<Around>,
    tls: Tls,
    code: CodeLimits,
}

/// Compiles and runs components. Cloning it is cheap; its clock ends with the last clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Sets up both engines and starts their clock.
    pub fn new(options: EngineOptions) -> Result<Self, HostError> {
        // What keeps both from being set up is told by the second.
        let dense =
            Parts::new(&dense(&options, Reach::Whole)).or_else(|_| Parts::new(&dense(&options, Reach::Slot)))?;
        let roomy = Parts::new(&roomy())?;
        let inner =
            Arc::new(Inner { dense, roomy, around: Arc::new(options.around), tls: Tls::default(), code: options.code });
        let clock = Arc::downgrade(&inner);
        std::thread::Builder::new()
            .name("ferrule-epoch".into())
            .spawn(move || tick(&clock))
            .map_err(|error| HostError(format!("its clock cannot start: {error}")))?;
        Ok(Self(inner))
    }

    /// Checks and compiles an artifact, and asks it what it is.
    pub async fn load(&self, bytes: &[u8]) -> Result<Component, LoadError> {
        Component::load(self, bytes, None).await
    }

    /// Like [`Engine::load`], and keeps the compiled form in `folder`, which belongs to this process' user alone.
    pub async fn load_with_cache(&self, bytes: &[u8], folder: &Path) -> Result<Component, LoadError> {
        Component::load(self, bytes, Some(folder)).await
    }

    pub(crate) fn around(&self) -> Arc<Around> {
        self.0.around.clone()
    }

    pub(crate) fn tls(&self) -> Tls {
        self.0.tls.clone()
    }

    pub(crate) fn code_limits(&self) -> &CodeLimits {
        &self.0.code
    }

    pub(crate) fn parts(&self, kind: EngineKind) -> &Parts {
        match kind {
            EngineKind::Dense => &self.0.dense,
            EngineKind::Roomy => &self.0.roomy,
        }
    }
}

impl Parts {
    fn new(config: &Config) -> Result<Self, HostError> {
        let engine = wasmtime::Engine::new(config).map_err(|error| HostError(format!("{error:#}")))?;
        let linker = linker::link(&engine).map_err(|error| HostError(format!("{error:#}")))?;
        Ok(Self { engine, linker })
    }
}

fn common() -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .async_stack_size(STACK_BYTES)
        .max_wasm_stack(STACK_BYTES / 2)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(8));
    config
}

/// How much address space a slot of the dense engine gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// All that a guest can address, and a guard: whatever it accesses outside its memory faults, so nothing is checked
    /// before an access. Address space is not memory; what a slot costs more is a page of page table.
    Whole,
    /// What the memory may grow to: every access is checked first. For processes whose address space is small or limited.
    Slot,
}

fn dense(options: &EngineOptions, reach: Reach) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(options.instances)
        .total_core_instances(options.instances.saturating_mul(4))
        .total_memories(options.instances)
        .total_tables(options.instances.saturating_mul(2))
        .total_stacks(options.instances)
        .max_core_instances_per_component(limits::INSTANCES as u32)
        .table_elements(limits::TABLE_ELEMENTS)
        .max_memory_size(limits::MEMORY_BYTES)
        .linear_memory_keep_resident(0);
    let mut config = common();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    if reach == Reach::Slot {
        config.memory_reservation(limits::MEMORY_BYTES as u64).memory_guard_size(0);
    }
    config
}

fn roomy() -> Config {
    let mut config = common();
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    config
}

fn tick(clock: &Weak<Inner>) {
    loop {
        std::thread::sleep(TICK);
        let Some(inner) = clock.upgrade() else { return };
        inner.dense.engine.increment_epoch();
        inner.roomy.engine.increment_epoch();
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_guest_of_the_dense_engine_can_address_all_that_32_bits_do() {
        let options = EngineOptions { instances: 2, ..EngineOptions::default() };
        assert!(Parts::new(&dense(&options, Reach::Whole)).is_ok());
        assert!(Parts::new(&dense(&options, Reach::Slot)).is_ok());
    }

    /// Runs in a process of its own, which the test below starts.
    #[test]
    #[ignore = "run by the test below with less address space"]
    fn with_little_address_space() {
        let options = EngineOptions { instances: 20, ..EngineOptions::default() };
        assert!(Parts::new(&dense(&options, Reach::Whole)).is_err());
        Engine::new(options).unwrap();
    }

    #[test]
    fn an_engine_is_set_up_where_address_space_is_short() {
        let this = std::env::current_exe().unwrap();
        // KiB: 20 slots of 64 MiB and their stacks fit, 20 of 4 GiB do not.
        let script = r#"ulimit -v 20000000 && exec "$0" --exact engine::tests::with_little_address_space --ignored"#;
        let run = Command::new("sh").args(["-c", script]).arg(this).output().unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&run.stderr));
    }
}
