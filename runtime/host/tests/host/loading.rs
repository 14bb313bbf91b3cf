//! What is refused before it ever runs, and why.

use ferrule_host::{CallError, Engine, EngineKind, EngineOptions, LoadError, World};

use ferrule_model::Code;

use crate::guests::{bytes, engine, load};

#[tokio::test]
async fn a_component_says_what_it_is() {
    let component = load("waits-on-socket").await.unwrap();
    assert_eq!(component.world(), World::Connector);
    assert_eq!(component.description().name, "naughty");
    assert_eq!(component.engine_kind(), EngineKind::Dense);
    assert!(component.digest().starts_with("sha256:") && component.digest().len() == 7 + 64);
    assert_eq!(component.validate("{}", "{}", "{}").await.unwrap(), []);
}

#[tokio::test]
async fn what_is_no_component_of_ours() {
    assert!(matches!(engine().load(b"hello").await, Err(LoadError::NotWasm { .. })));
    assert_eq!(engine().load(b"\0asm\x01\0\0\0").await.unwrap_err(), LoadError::CoreModule);
    assert_eq!(load("command").await.unwrap_err(), LoadError::Command);
    match load("exports-nothing").await.unwrap_err() {
        LoadError::UnknownWorld { found, missing } => {
            assert!(found.contains("greet"), "{found}");
            assert!(missing.contains("component"), "{missing}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn code_that_is_not_valid_does_not_compile() {
    // The first half of a component is mostly code: no instruction begins with these bytes. Where they hit the length of a
    // function instead, it is no component any more, and another place is taken.
    let damaged = async |place: usize| {
        let mut bytes = bytes("traps");
        let at = bytes.len() * place / 32;
        bytes[at..at + 8].fill(0xff);
        engine().load(&bytes).await.unwrap_err()
    };
    let mut error = damaged(8).await;
    for place in 9..16 {
        if matches!(error, LoadError::NotWasm { .. }) {
            error = damaged(place).await;
        }
    }
    assert!(matches!(error, LoadError::Compile(_)), "{error:?}");
    assert_eq!(error.code(), Code::CompileFailed);
}

#[tokio::test]
async fn an_unknown_import_is_named() {
    let error = load("imports-unknown").await.unwrap_err();
    assert!(
        matches!(&error, LoadError::UnknownImport { name, .. } if name == "vendor:secret/magic@1.0.0"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_later_contract_is_told_with_its_version() {
    let error = load("newer-contract").await.unwrap_err();
    assert!(matches!(&error, LoadError::NewerContract { wanted, .. } if wanted == "0.2.0"), "{error:?}");
}

#[tokio::test]
async fn a_description_that_makes_no_sense_is_refused_with_all_its_faults() {
    match load("describes-garbage").await.unwrap_err() {
        LoadError::InvalidDescribe { problems } => assert_eq!(problems.len(), 5, "{problems:#?}"),
        other => panic!("{other:?}"),
    }
    match load("traps-describe").await.unwrap_err() {
        LoadError::Describe(CallError::Trap { call: "describe", reason }) => {
            assert!(reason.contains("who am I"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn more_instances_than_slots_are_refused_with_a_reason() {
    let engine = Engine::new(EngineOptions { instances: 2, ..EngineOptions::default() }).unwrap();
    let component = engine.load(&bytes("by-index")).await.unwrap();
    let options = || ferrule_host::InstanceOptions::new("x");
    let _held = [component.instantiate(options()).await.unwrap(), component.instantiate(options()).await.unwrap()];
    match component.instantiate(options()).await.unwrap_err() {
        CallError::Host { code: Code::LimitReached, message } => {
            assert!(message.contains("no more instances"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_test_binary_runs_with_nothing_allowed() {
    let command = engine().load_command(&bytes("command")).await.unwrap();
    let run = async |argument: &str| command.run(&["program".to_owned(), argument.to_owned()]).await;
    let plain = run("one").await;
    assert_eq!(
        (plain.exit_code, plain.stdout.as_str(), plain.stderr.as_str()),
        (0, "[\"one\"]\n", "to standard error\n")
    );
    // WASI 0.2 tells success from failure, and no more.
    assert_eq!(run("exit").await.exit_code, 1);
    assert_eq!(run("socket").await.stdout, "PermissionDenied\n");
    let panicked = run("panic").await;
    assert_eq!(panicked.exit_code, 134);
    assert!(panicked.stderr.contains("as asked") && panicked.trap.is_some(), "{panicked:?}");
}
