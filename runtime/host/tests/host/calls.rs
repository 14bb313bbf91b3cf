//! Calls that end otherwise than they should.

use std::time::Duration;

use ferrule_host::{Breach, CallError, Configured, InstanceOptions, Limit, Limits, Spent};
use ferrule_model::Code;
use ferrule_model::capability::AbilityKind;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::guests::{DEADLINE, PULL, load, open, options, plain};

async fn limited(name: &str, limits: Limits) -> ferrule_host::Instance {
    let options = InstanceOptions { limits, ..options(&[]).0 };
    load(name).await.unwrap().instantiate(options).await.unwrap()
}

#[tokio::test]
async fn a_panic_is_a_trap_with_its_message_and_the_last_call() {
    let mut instance = plain("traps").await;
    let error = instance.next(PULL).await.unwrap_err();
    assert_eq!(error.code(), Code::Trap);
    assert!(error.told().ends_with(" [FE0501]"), "{}", error.told());
    match error {
        CallError::Trap { call: "next", reason } => assert!(reason.contains("the pump burst"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(!instance.is_alive());
    assert!(matches!(instance.close().await, Err(CallError::Gone(_))));
}

#[tokio::test]
async fn what_was_given_before_a_trap_in_the_middle_of_a_batch_stands() {
    let mut instance = plain("traps-midway").await;
    let parameters = ferrule_host::Session { parameters: r#"{"trap":"once"}"#.into(), ..crate::guests::session("") };
    instance.open(parameters).await.unwrap();
    for expected in ["10", "20", "30"] {
        let pulled = instance.next(PULL).await.unwrap();
        assert_eq!((pulled.records.count, pulled.position.as_deref()), (10, Some(expected.as_bytes())));
    }
    let error = instance.next(PULL).await.unwrap_err();
    assert!(error.to_string().contains("after 6 of 10 records"), "{error}");
}

#[tokio::test]
async fn a_guest_that_never_waits_is_ended_by_its_computing_time_and_others_run_meanwhile() {
    let mut spins = limited("spins", Limits { call_time: Duration::from_millis(300), ..Limits::default() }).await;
    let mut other = plain("by-index").await;
    let batch = ferrule_model::record::Batch::of(["a"]).unwrap();
    // On one thread: the spinning guest gives way, or the other would never run.
    let spinning = async { spins.next(PULL).await };
    let working = async {
        for _ in 0..100 {
            other.apply(&batch).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (spun, ()) = tokio::time::timeout(DEADLINE, async { tokio::join!(spinning, working) }).await.unwrap();
    assert!(matches!(spun, Err(CallError::TimedOut { call: "next", spent: Spent::Computing, .. })), "{spun:?}");
    assert_eq!(spun.unwrap_err().code(), Code::TimedOut);
    assert!(matches!(spins.close().await, Err(CallError::Gone(_))));
}

#[tokio::test]
async fn memory_over_the_limit_is_told_as_that_limit() {
    let mut instance = limited("hoards-memory", Limits { memory_bytes: 8 << 20, ..Limits::default() }).await;
    assert!(instance.memory_bytes() > 0);
    let error = instance.next(PULL).await.unwrap_err();
    assert_eq!(error.code(), Code::LimitReached);
    match error {
        CallError::Limit(breach) => assert_eq!(breach.limit, Limit::Memory),
        other => panic!("{other:?}"),
    }
    assert!(instance.memory_bytes() <= 8 << 20);
}

#[tokio::test]
async fn handles_are_bounded() {
    let mut instance = limited("leaks-handles", Limits { handles: 50, ..Limits::default() }).await;
    let error = instance.next(PULL).await.unwrap_err();
    assert!(matches!(&error, CallError::Limit(Breach { limit: Limit::Handles, .. })), "{error:?}");
}

#[tokio::test]
async fn a_guest_that_ignores_the_wake_up_is_ended_at_its_deadline() {
    let limits = Limits { wait: Duration::from_millis(200), ..Limits::default() };
    let mut instance = limited("ignores-wakeup", limits.clone()).await;
    let waker = instance.waker();
    let mut next = Box::pin(instance.next(PULL));
    // Not woken, it may wait as long as it likes.
    assert!(tokio::time::timeout(limits.wait * 3, &mut next).await.is_err());
    waker.wake();
    let error = tokio::time::timeout(DEADLINE, next).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::TimedOut { call: "next", spent: Spent::Waiting, .. }), "{error:?}");

    let mut instance = limited("ignores-wakeup", limits).await;
    let error = tokio::time::timeout(DEADLINE, instance.settle(&[1])).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::TimedOut { call: "settle", spent: Spent::Waiting, .. }), "{error:?}");
}

#[tokio::test]
async fn a_call_given_up_halfway_ends_the_instance() {
    let mut instance = plain("ignores-wakeup").await;
    assert!(tokio::time::timeout(Duration::from_millis(20), instance.next(PULL)).await.is_err());
    assert!(matches!(instance.close().await, Err(CallError::Gone(_))));
}

#[tokio::test]
async fn waiting_does_not_count_as_computing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let limits = Limits { call_time: Duration::from_millis(100), ..Limits::default() };
    let options = InstanceOptions { limits, ..options(&[(AbilityKind::Tcp, &address)]).0 };
    let mut instance = load("waits-on-socket").await.unwrap().instantiate(options).await.unwrap();
    open(&mut instance, &address).await.unwrap();
    let (mut peer, _) = listener.accept().await.unwrap();
    let later = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        peer.write_all(b"late").await.unwrap();
    };
    let (pulled, ()) = tokio::join!(instance.next(PULL), later);
    assert_eq!(pulled.unwrap().records.payload.get(0), b"late");
}

#[tokio::test]
async fn a_source_on_a_silent_socket_is_settled_configured_and_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (options, recorder) = options(&[(AbilityKind::Tcp, &address)]);
    let mut instance = load("waits-on-socket").await.unwrap().instantiate(options).await.unwrap();
    assert!(open(&mut instance, &address).await.unwrap().replayable);
    let (mut peer, _) = listener.accept().await.unwrap();
    assert!(recorder.has(&format!("allowed tcp {address}")));

    peer.write_all(b"one").await.unwrap();
    let pulled = instance.next(PULL).await.unwrap();
    assert_eq!((pulled.records.payload.get(0), pulled.records.tokens.as_ref()), (b"one".as_slice(), [1].as_slice()));

    // The socket is silent now; the host has something to say.
    let waker = instance.waker();
    let mut next = Box::pin(instance.next(PULL));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut next).await.is_err(), "it came back without a reason");
    waker.wake();
    let pulled = tokio::time::timeout(DEADLINE, next).await.unwrap().unwrap();
    assert_eq!(pulled.records.count, 0);
    instance.settle(&[1]).await.unwrap();
    // The wake-up was over with the call: the next one waits again, until it is woken before it begins.
    instance.waker().wake();
    let pulled = tokio::time::timeout(DEADLINE, instance.next(PULL)).await.unwrap().unwrap();
    assert_eq!(pulled.position.as_deref(), Some(b"1".as_slice()));
    assert_eq!(instance.configure("{}").await.unwrap(), Configured::Reopen);
    instance.close().await.unwrap();
}

#[tokio::test]
async fn batches_that_break_the_contract_are_refused() {
    for how in [
        "ends-decrease",
        "ends-short",
        "ends-past",
        "too-few-keys",
        "too-many-timestamps",
        "headers-garbage",
        "no-tokens",
        "no-payload",
        "count-lies",
        "too-many",
    ] {
        let mut instance = plain("malformed-batch").await;
        instance.configure(&format!("{how:?}")).await.unwrap();
        let error = instance.next(PULL).await.unwrap_err();
        assert!(matches!(&error, CallError::Malformed { call: "next", .. }), "{how}: {error:?}");
        assert_eq!(error.code(), Code::Malformed);
        assert!(!instance.is_alive(), "{how}");
    }
    let mut instance = plain("malformed-batch").await;
    assert_eq!(instance.next(PULL).await.unwrap().records.count, 2);
    // One that is larger than the host takes is not broken, but at a limit.
    let mut instance = limited("malformed-batch", Limits { answer_bytes: 1 << 20, ..Limits::default() }).await;
    instance.configure("\"large\"").await.unwrap();
    let error = instance.next(PULL).await.unwrap_err();
    assert!(matches!(&error, CallError::Limit(Breach { limit: Limit::AnswerBytes, .. })), "{error:?}");
}

#[tokio::test]
async fn a_connector_has_no_apply() {
    let mut instance = plain("traps").await;
    let batch = ferrule_model::record::Batch::of(["a"]).unwrap();
    let error = instance.apply(&batch).await.unwrap_err();
    assert!(matches!(error, CallError::NotExported { call: "apply", .. }));
    assert_eq!(error.code(), Code::WrongWorld);
    assert!(instance.is_alive());
}
