//! Loads test guests, opens sessions, and records what an instance tells.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use ferrule_host::{
    CallError, Component, Decision, Engine, EngineOptions, GrantHint, Health, Instance, InstanceOptions, Level,
    LoadError, Observer, Opened, PullLimits, Session, Severity,
};
use ferrule_model::capability::{Ability, AbilityKind};
use ferrule_model::component::Direction;

/// Longer than anything here takes; a test that waits so long fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) const PULL: PullLimits =
    PullLimits { max_records: 10, max_bytes: 1 << 20, linger_ms: 0, max_wait_ms: 60_000 };

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The bytes of a test guest.
pub(crate) fn bytes(name: &str) -> Vec<u8> {
    let path = root().join("target/test-guests").join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("no {}: {error}; run cargo xtask guests", path.display()))
}

pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(EngineOptions { instances: 50, ..EngineOptions::default() }).unwrap())
}

pub(crate) async fn load(name: &str) -> Result<Component, LoadError> {
    engine().load(&bytes(name)).await
}

/// What an instance told.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn tell(&self, event: String) {
        self.0.lock().unwrap().push(event);
    }

    pub(crate) fn events(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn has(&self, part: &str) -> bool {
        self.events().iter().any(|event| event.contains(part))
    }
}

impl Observer for Recorder {
    fn log(&self, level: Level, target: &str, message: &str, fields: &[(String, String)]) {
        self.tell(format!("log {level:?} {target}: {message} {fields:?}"));
    }
    fn count(&self, name: &str, labels: &[(String, String)], amount: u64) {
        self.tell(format!("count {name} {labels:?} {amount}"));
    }
    fn gauge(&self, name: &str, labels: &[(String, String)], value: f64) {
        self.tell(format!("gauge {name} {labels:?} {value}"));
    }
    fn health(&self, health: Health) {
        self.tell(format!("health {} {}", health.healthy, health.message));
    }
    fn alert(&self, severity: Severity, name: &str, message: &str) {
        self.tell(format!("alert {severity:?} {name} {message}"));
    }
    fn clear(&self, name: &str) {
        self.tell(format!("clear {name}"));
    }
    fn decided(&self, decision: &Decision) {
        let Decision { kind, host, port, interface, rule, .. } = decision;
        let word = if decision.refusal.is_some() { "denied" } else { "allowed" };
        self.tell(format!("{word} {kind} {host}:{port} by {rule} at {interface}"));
    }
}

/// Options with these abilities, and what the instance will tell.
pub(crate) fn options(abilities: &[(AbilityKind, &str)]) -> (InstanceOptions, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let options = InstanceOptions {
        rules: abilities.iter().map(|(kind, target)| Ability::parse(*kind, target).unwrap()).collect::<Vec<_>>().into(),
        observer: recorder.clone(),
        hint: GrantHint { class: "naughty".into() },
        ..InstanceOptions::new("meter")
    };
    (options, recorder)
}

/// An instance without abilities.
pub(crate) async fn plain(name: &str) -> Instance {
    load(name).await.unwrap().instantiate(options(&[]).0).await.unwrap()
}

pub(crate) fn session(parameters: &str) -> Session {
    Session {
        name: "meter".into(),
        direction: Direction::Ingress,
        static_parameters: "{}".into(),
        config: "{}".into(),
        parameters: format!("{parameters:?}"),
        position: None,
        properties: Vec::new(),
    }
}

pub(crate) async fn open(instance: &mut Instance, parameters: &str) -> Result<Opened, CallError> {
    instance.open(session(parameters)).await
}

/// A property that the guest told when it opened.
pub(crate) fn told<'a>(opened: &'a Opened, name: &str) -> &'a str {
    &opened.properties.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("{opened:?} has no {name}")).1
}

#[test]
fn every_test_guest_is_used_by_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host");
    let mut tests = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        tests.push_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    for entry in std::fs::read_dir(root().join("tests/guests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.join("Cargo.toml").is_file() {
            assert!(tests.contains(&format!("\"{name}\"")), "no test uses tests/guests/{name}");
        }
    }
}
