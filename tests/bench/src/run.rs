//! A pipeline of the real runtime in this process: the flow, the host and a log, with a plan made by hand.

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use ferrule_flow::plan::{BatchPlan, ComponentRef, GuestPlan, PipelinePlan, Plan, StepPlan, StreamPlan};
use ferrule_flow::{Flow, FlowOptions, MemoryDeadLetters};
use ferrule_host::{Component, Engine, EngineOptions};
use ferrule_model::component::Direction;
use ferrule_transport::{EmbeddedLog, EmbeddedOptions, Log, MemoryLog};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

use crate::clock;
use crate::measure::{Arm, Sample};
use crate::native::{self, Checker, Look};

/// How long records flow before a turn is measured.
const WARM_UP: Duration = Duration::from_millis(150);

/// How long a turn lasts.
const TURN: Duration = Duration::from_millis(400);

/// How long anything may take before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// The guests as WebAssembly, compiled once.
pub(crate) struct Guests {
    engine: Engine,
}

impl Guests {
    pub(crate) fn new() -> Result<Guests> {
        Ok(Guests { engine: Engine::new(EngineOptions::default())? })
    }

    /// A shipped guest.
    pub(crate) async fn shipped(&self, name: &str) -> Result<Component> {
        self.load(&target().join("guests").join(name).with_extension("wasm")).await
    }

    /// A guest of the benchmarks' own.
    pub(crate) async fn own(&self, name: &str) -> Result<Component> {
        self.load(&target().join("bench-guests").join(name).with_extension("wasm")).await
    }

    /// A component that is in no file.
    pub(crate) async fn compile(&self, bytes: &[u8]) -> Result<Component> {
        Ok(self.engine.load(bytes).await?)
    }

    async fn load(&self, path: &Path) -> Result<Component> {
        let bytes =
            std::fs::read(path).with_context(|| format!("no {}; `cargo xtask bench` builds it", path.display()))?;
        // Compiled once and not in every run. The engine makes the folder, for this user alone.
        Ok(self.engine.load_with_cache(&bytes, &target().join("bench/compiled")).await?)
    }
}

/// Where this binary and the guests are.
pub(crate) fn target() -> PathBuf {
    let here = std::env::current_exe().unwrap_or_default();
    let built = here.ancestors().find(|folder| folder.ends_with("debug") || folder.ends_with("release"));
    built
        .and_then(Path::parent)
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), Path::to_path_buf)
}

/// A session of a component with these parameters.
pub(crate) fn session(component: &Component, parameters: &serde_json::Value) -> GuestPlan {
    GuestPlan { parameters: parameters.to_string(), ..GuestPlan::new(ComponentRef::from(component.clone())) }
}

type Open = Arc<dyn Fn(&Path) -> Result<Arc<dyn Log>> + Send + Sync>;

/// A backend of the log, opened anew for each turn.
#[derive(Clone)]
pub(crate) struct LogKind {
    pub(crate) name: &'static str,
    /// Opens it in a folder.
    open: Open,
    /// Whether it is there again when it is opened again.
    pub(crate) lasts: bool,
}

impl LogKind {
    pub(crate) fn memory() -> LogKind {
        LogKind { name: "memory", open: Arc::new(|_| Ok(Arc::new(MemoryLog::default()))), lasts: false }
    }

    /// Every backend that there is.
    pub(crate) fn all() -> Vec<LogKind> {
        vec![LogKind::memory(), LogKind::embedded()]
    }

    pub(crate) fn embedded() -> LogKind {
        let open = |folder: &Path| -> Result<Arc<dyn Log>> {
            Ok(Arc::new(EmbeddedLog::open(EmbeddedOptions::new(folder.join("log")))?))
        };
        LogKind { name: "embedded", open: Arc::new(open), lasts: true }
    }

    pub(crate) fn open(&self, folder: &Path) -> Result<Arc<dyn Log>> {
        (self.open)(folder)
    }
}

/// A folder on the disk that the checkout is on: what is measured there is a disk and not memory.
pub(crate) fn folder() -> Result<TempDir> {
    let parent = target().join("bench");
    std::fs::create_dir_all(&parent).with_context(|| format!("could not make {}", parent.display()))?;
    Ok(tempfile::tempdir_in(parent)?)
}

/// A source, steps and a sink.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) log: LogKind,
    /// Records in a pull and in a write.
    pub(crate) batch: u32,
    pub(crate) source: GuestPlan,
    pub(crate) steps: Vec<GuestPlan>,
    pub(crate) sink: GuestPlan,
    /// A source of somebody else's, with a pipeline of its own.
    pub(crate) beside: Option<GuestPlan>,
}

impl Shape {
    fn plan(&self) -> Plan {
        let source = StreamPlan::new("in", "in", Direction::Ingress, self.source.clone());
        let sink = StreamPlan::new("out", "out", Direction::Egress, self.sink.clone());
        let mut pipeline = PipelinePlan::new("p", "p", "in", "out");
        pipeline.batch = BatchPlan { records: self.batch, ..BatchPlan::default() };
        let steps = self.steps.iter().zip(1..);
        pipeline.steps = steps.map(|(guest, number)| StepPlan::new(format!("step-{number}"), guest.clone())).collect();
        let mut plan = Plan { streams: vec![source, sink], pipelines: vec![pipeline], ..Plan::default() };
        if let Some(other) = &self.beside {
            let sink = native::plan(native::Blackhole);
            plan.streams.push(StreamPlan::new("other-in", "other-in", Direction::Ingress, other.clone()));
            plan.streams.push(StreamPlan::new("other-out", "other-out", Direction::Egress, sink));
            plan.pipelines.push(PipelinePlan::new("other", "other", "other-in", "other-out"));
        }
        plan
    }

    /// Starts it.
    pub(crate) async fn start(&self) -> Result<Running> {
        let folder = folder()?;
        let log = self.log.open(folder.path())?;
        let mut options = FlowOptions::new(log, Arc::new(MemoryDeadLetters::default()));
        options.pull_records = self.batch;
        let flow = Flow::start(options);
        flow.apply(self.plan()).await?;
        Ok(Running { flow, _folder: folder })
    }

    /// Takes some records through it to a sink that looks at each of them.
    pub(crate) async fn prove(&self, look: Look) -> Result<()> {
        let checker = Checker::new(look);
        let proof = Shape { sink: native::plan(checker.clone()), ..self.clone() };
        let running = proof.start().await?;
        let arrived = running.reaches(u64::from(self.batch) * 3).await;
        let (seen, wrong) = checker.seen();
        running.stop().await;
        arrived?;
        ensure!(wrong.is_none(), "{}", wrong.unwrap_or_default());
        ensure!(seen > 0, "no record was looked at");
        Ok(())
    }
}

/// A pipeline that runs.
pub(crate) struct Running {
    pub(crate) flow: Flow,
    _folder: TempDir,
}

impl Running {
    /// How many records the sink's own counter says it has.
    pub(crate) fn arrived(&self) -> u64 {
        let snapshot = self.flow.snapshot();
        let sink = snapshot.streams.iter().find(|(uid, _)| uid.as_str() == "out").map(|(_, stream)| stream);
        let metrics = sink.map(|sink| sink.guest.metrics.as_slice()).unwrap_or_default();
        metrics.iter().find(|metric| metric.name == "records_swallowed").map_or(0, |metric| metric.value as u64)
    }

    /// Waits until the sink has so many.
    pub(crate) async fn reaches(&self, count: u64) -> Result<()> {
        let limit = Instant::now() + PATIENCE;
        while self.arrived() < count {
            if Instant::now() > limit {
                bail!("only {} of {count} records arrived: {:#?}", self.arrived(), self.flow.snapshot());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Measures what arrives within a turn.
    async fn measure(&self) -> Result<Sample> {
        self.reaches(1).await?;
        tokio::time::sleep(WARM_UP).await;
        let (start, cpu, before) = (Instant::now(), clock::own(), self.arrived());
        tokio::time::sleep(TURN).await;
        let (records, cpu, wall) = (self.arrived() - before, clock::own() - cpu, start.elapsed());
        let dead: u64 = self.flow.snapshot().pipelines.values().map(|pipeline| pipeline.dead + pipeline.retried).sum();
        ensure!(dead == 0, "{dead} records were retried or given up");
        ensure!(records > 0, "nothing arrived in a turn");
        Ok(Sample { records, wall, cpu })
    }

    pub(crate) async fn stop(self) {
        // What is under way is not waited for: it is counted at the far end or not at all.
        let _ = self.flow.stop(Duration::ZERO).await;
    }
}

/// A shape as an arm.
pub(crate) struct FlowArm {
    pub(crate) name: String,
    pub(crate) shape: Shape,
}

#[async_trait]
impl Arm for FlowArm {
    fn name(&self) -> &str {
        &self.name
    }

    async fn turn(&mut self) -> Result<Sample> {
        let running = self.shape.start().await?;
        let sample = running.measure().await;
        running.stop().await;
        sample
    }
}
