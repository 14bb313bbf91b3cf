//! Runs one guest beside a neighbour that goes on delivering.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use ferrule_host::{
    Breach, CodeLimits, Decision, Engine, EngineOptions, Guards, Health, InstanceOptions, Level, Limits, Observer,
    PullLimits, Session, Severity,
};
use ferrule_model::capability::{Ability, AbilityKind};
use ferrule_model::component::Direction;
use ferrule_model::record::Batch;
use ferrule_naughty::World;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::case::{Act, Case, End, Met, Off};

/// Longer than anything here takes; what is not over by then is not over at all.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long a guest without its guard may go on before it is believed that nothing stops it: more than any limit that is set here.
const ENDLESS: Duration = Duration::from_millis(800);

/// Records that the neighbour has to deliver after each hostile guest, and while it runs.
const PROOF: u64 = 200;

const PULL: PullLimits = PullLimits { max_records: 10, max_bytes: 1 << 20, linger_ms: 0, max_wait_ms: 60_000 };

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(EngineOptions { instances: 50, ..EngineOptions::default() }).unwrap())
}

/// A stream that has nothing to do with the hostile one, on the same engine and threads.
pub(crate) struct Neighbour {
    records: Arc<AtomicU64>,
    failed: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Neighbour {
    pub(crate) async fn start() -> Self {
        let bytes = ferrule_naughty::assemble(&ferrule_naughty::good_source(10)).unwrap();
        let component = engine().load(&bytes).await.unwrap();
        let mut instance = component.instantiate(InstanceOptions::new("neighbour")).await.unwrap();
        let (records, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, broken) = (records.clone(), failed.clone());
        let task = tokio::spawn(async move {
            // It leaves the processors to those who misbehave.
            let mut pace = tokio::time::interval(Duration::from_millis(1));
            loop {
                pace.tick().await;
                match instance.next(PULL).await {
                    Ok(pulled) => drop(counted.fetch_add(u64::from(pulled.records.count), SeqCst)),
                    Err(_) => return broken.store(true, SeqCst),
                }
            }
        });
        Self { records, failed, task }
    }

    pub(crate) fn records(&self) -> u64 {
        self.records.load(SeqCst)
    }

    pub(crate) async fn delivers_more_than(&self, before: u64) -> bool {
        let delivers = async {
            while self.records() < before + PROOF && !self.failed.load(SeqCst) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, delivers).await.is_ok() && !self.failed.load(SeqCst)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn tell(&self, event: String) {
        self.0.lock().unwrap().push(event);
    }
}

impl Observer for Recorder {
    fn log(&self, level: Level, target: &str, message: &str, fields: &[(String, String)]) {
        let fields: String = fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        self.tell(format!("log {level:?} {target}: {message}{fields}"));
    }
    fn limited(&self, breach: &Breach, _: u64) {
        self.tell(format!("limited {}", breach.limit.word()));
    }
    fn count(&self, name: &str, _: &[(String, String)], _: u64) {
        self.tell(format!("count {name}"));
    }
    fn gauge(&self, name: &str, _: &[(String, String)], _: f64) {
        self.tell(format!("gauge {name}"));
    }
    fn health(&self, health: Health) {
        self.tell(format!("health {} {}", health.healthy, health.message));
    }
    fn alert(&self, _: Severity, name: &str, message: &str) {
        self.tell(format!("alert {name} {message}"));
    }
    fn clear(&self, name: &str) {
        self.tell(format!("clear {name}"));
    }
    fn decided(&self, decision: &Decision) {
        let word = if decision.refusal.is_some() { "denied" } else { "allowed" };
        self.tell(format!("{word} {} {}", decision.kind, decision.host));
    }
}

/// What a case is run with.
pub(crate) struct Rig {
    limits: Limits,
    code: CodeLimits,
    guards: Guards,
    granted: bool,
    patience: Duration,
}

impl Rig {
    pub(crate) fn guarded(case: &Case) -> Self {
        Self {
            limits: case.limits.clone(),
            code: case.code_limits.clone(),
            guards: Guards::default(),
            granted: false,
            patience: DEADLINE,
        }
    }

    pub(crate) fn unguarded(case: &Case) -> Self {
        let mut rig = Self { patience: ENDLESS, ..Self::guarded(case) };
        match case.off {
            Off::Limits(off) => off(&mut rig.limits),
            Off::Answers => rig.guards.answers = false,
            Off::Texts => rig.guards.texts = false,
            Off::Granted => rig.granted = true,
            Off::Code(off) => off(&mut rig.code),
            Off::Never(_) => {}
        }
        rig
    }

    pub(crate) async fn run(self, case: &Case) -> Met {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let callers = Arc::new(AtomicU64::new(0));
        let counted = callers.clone();
        let accepting = tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, SeqCst);
                kept.push(stream);
            }
        });
        let recorder = Arc::new(Recorder::default());
        let act = self.act(case, port, recorder.clone());
        let end = tokio::time::timeout(self.patience, act).await.unwrap_or(End::Endless);
        accepting.abort();
        let told = std::mem::take(&mut *recorder.0.lock().unwrap());
        Met { end, told, callers: usize::try_from(callers.load(SeqCst)).unwrap() }
    }

    async fn act(&self, case: &Case, port: u16, recorder: Arc<Recorder>) -> End {
        let bytes = case.bytes(port);
        let own;
        let engine = if self.code == CodeLimits::default() {
            engine()
        } else {
            let code = self.code.clone();
            own = Engine::new(EngineOptions { instances: 5, code, ..EngineOptions::default() }).unwrap();
            &own
        };
        let component = match engine.load(&bytes).await {
            Ok(component) => component,
            Err(error) => return End::NotLoaded(error),
        };
        if matches!(case.act, Act::Validate) {
            return match component.validate("{}", "{}", "{}").await {
                Ok(_) => End::Fine,
                Err(error) => End::Failed(error),
            };
        }
        let literal = format!("127.0.0.1:{port}");
        let granted: &[&str] = if self.granted { &[&literal] } else { &[] };
        let rules: Vec<Ability> = case
            .grants
            .iter()
            .chain(granted)
            .map(|target| Ability::parse(AbilityKind::Tcp, &target.replace("PORT", &port.to_string())).unwrap())
            .collect();
        let options = InstanceOptions {
            rules: rules.into(),
            limits: self.limits.clone(),
            observer: recorder,
            guards: self.guards,
            ..InstanceOptions::new("naughty")
        };
        let mut instance = match component.instantiate(options).await {
            Ok(instance) => instance,
            Err(error) => return End::Failed(error),
        };
        if case.woken {
            instance.waker().wake();
        }
        let session = Session {
            name: "naughty".into(),
            direction: match case.world {
                World::Source => Direction::Ingress,
                World::Sink => Direction::Egress,
                World::Function => Direction::Transform,
            },
            static_parameters: "{}".into(),
            config: "{}".into(),
            parameters: "{}".into(),
            position: None,
            properties: Vec::new(),
        };
        let batch = Batch { tokens: vec![1].into(), ..Batch::of(["x".repeat(1_000)]).unwrap() };
        let answer = match case.act {
            Act::Start | Act::Validate => Ok(()),
            Act::Open => instance.open(session).await.map(drop),
            Act::Configure => instance.configure("{}").await.map(drop),
            Act::Close => instance.close().await,
            Act::Next => instance.next(PULL).await.map(drop),
            Act::Nexts(times) => {
                for _ in 1..times {
                    if let Err(error) = instance.next(PULL).await {
                        panic!("{}: a good batch failed: {error}", case.name);
                    }
                }
                instance.next(PULL).await.map(drop)
            }
            Act::Settle => instance.settle(&[1]).await,
            Act::Write => instance.write(&batch).await.map(drop),
            Act::Idle => instance.idle(1_000).await.map(drop),
            Act::Apply => instance.apply(&batch).await.map(drop),
        };
        match answer {
            Ok(()) => End::Fine,
            Err(error) => End::Failed(error),
        }
    }
}
