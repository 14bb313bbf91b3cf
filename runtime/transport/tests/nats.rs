//! The log in JetStream against a real nats-server that is restarted, killed, halted and full.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ferrule_model::ids::Uid;
use ferrule_model::record::Batch;
use ferrule_suites::nats::Nats;
use ferrule_suites::wait::PATIENCE;
use ferrule_transport::nats::{NatsError, NatsOptions, PatientNatsLog};
use ferrule_transport::{
    Bounds, Cursor, Durability, Keep, Log, LogError, LogReader, NatsLog, ReaderId, StartAt, StreamOptions, WhenFull,
    conformance,
};

async fn connect(nats: &Nats, owner: &str) -> NatsLog {
    NatsLog::connect(NatsOptions::new(nats.url(), owner)).await.unwrap()
}

fn stream() -> Uid {
    Uid::new("stream")
}

fn lasting() -> StreamOptions {
    StreamOptions::new(Durability::System)
}

fn named() -> ReaderId {
    ReaderId::Named("pipeline".into())
}

fn below(low: u64) -> Cursor {
    Cursor { low, done: Vec::new() }
}

fn one(text: &str) -> Batch {
    Batch::of([text]).unwrap()
}

fn text(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload).into_owned()
}

/// The next record by itself.
async fn read(reader: &mut dyn LogReader) -> (u64, String) {
    let next = tokio::time::timeout(PATIENCE, reader.next(1, 1 << 20)).await;
    let entries = next.expect("a record comes").unwrap();
    (entries.first_offset, text(entries.records.payload.get(0)))
}

/// Adds what comes next, each record once.
async fn read_into(seen: &mut BTreeMap<u64, String>, reader: &mut dyn LogReader) {
    let entries = reader.next(100, 1 << 20).await.unwrap();
    for (index, record) in entries.records.iter().enumerate() {
        let before = seen.insert(entries.first_offset + index as u64, text(record.payload));
        assert_eq!(before, None, "a record was read twice");
    }
    reader.commit(&below(reader.position()));
}

/// Records up to this offset.
async fn read_until(reader: &mut dyn LogReader, end: u64) -> BTreeMap<u64, String> {
    let mut seen = BTreeMap::new();
    while reader.position() < end {
        tokio::time::timeout(PATIENCE, read_into(&mut seen, reader)).await.expect("records come");
    }
    seen
}

/// Asks until it is so.
async fn until(what: &str, mut ask: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !ask() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn conforms(tail_bytes: u64) {
    let Some(nats) = Nats::start() else { return };
    let logs = AtomicU32::new(0);
    let make = async |largest_record| {
        let prefix = format!("log{}", logs.fetch_add(1, Ordering::Relaxed));
        let options = NatsOptions { prefix, largest_record, tail_bytes, ..NatsOptions::new(nats.url(), "suite") };
        NatsLog::connect(options).await.unwrap()
    };
    conformance::run_at(Durability::System, make).await.unwrap();
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_log() {
    conforms(2 << 20).await;
}

#[tokio::test]
async fn it_keeps_the_contract_when_everything_is_read_back() {
    conforms(0).await;
}

#[tokio::test]
async fn streams_of_the_process_keep_the_contract_too() {
    let Some(nats) = Nats::start() else { return };
    let make = async |largest_record| {
        let options = NatsOptions { largest_record, ..NatsOptions::new(nats.url(), "suite") };
        NatsLog::connect(options).await.unwrap()
    };
    conformance::run(make).await.unwrap();
}

#[tokio::test]
async fn what_was_appended_is_there_for_the_next_runtime() {
    let Some(nats) = Nats::start() else { return };
    let log = connect(&nats, "one").await;
    log.configure(&stream(), lasting());
    let mut reader = log.reader(&stream(), named(), StartAt::Latest).await.unwrap();
    for index in 0..10 {
        log.append(&stream(), one(&index.to_string()), Some(vec![index])).await.unwrap();
    }
    while reader.position() < 10 {
        reader.next(100, 1 << 20).await.unwrap();
    }
    reader.commit(&Cursor { low: 4, done: std::iter::once(5..6).collect() });
    log.close().await;
    assert_eq!(log.append(&stream(), one("late"), None).await, Err(LogError::Closed));

    let log = connect(&nats, "one").await;
    assert_eq!(log.streams(), [stream()]);
    log.configure(&stream(), lasting());
    assert_eq!(log.position(&stream()).await.unwrap(), Some(vec![9]));
    assert_eq!(log.readers(&stream()), ["pipeline"]);
    assert_eq!((log.usage(&stream()).next_offset, log.usage(&stream()).unread_bytes), (10, 6));
    let mut reader = log.reader(&stream(), named(), StartAt::Latest).await.unwrap();
    assert_eq!(reader.lag().records, 6);
    assert_eq!(read(reader.as_mut()).await, (4, "4".into()));
    assert_eq!(read(reader.as_mut()).await, (6, "6".into()));
    assert_eq!(log.append(&stream(), one("10"), None).await.unwrap().first_offset, 10);
    assert_eq!(log.position(&stream()).await.unwrap(), Some(vec![9]), "none leaves the one before");
    let rewound = ReaderId::Rewound("pipeline".into());
    let mut reader = log.reader(&stream(), rewound, StartAt::Oldest).await.unwrap();
    assert_eq!(read_until(reader.as_mut(), 11).await.len(), 11);
    log.remove(&stream());
    log.configure(&stream(), lasting());
    assert_eq!(log.append(&stream(), one("new"), None).await.unwrap().first_offset, 0);
    assert_eq!(log.position(&stream()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_reader_misses_nothing_that_comes_while_it_is_opened() {
    let Some(nats) = Nats::start() else { return };
    for round in 0..5 {
        let log = Arc::new(connect(&nats, "one").await);
        let uid = Uid::new(format!("stream-{round}"));
        log.configure(&uid, lasting());
        if round % 2 == 1 {
            log.append(&uid, one("before"), None).await.unwrap();
        }
        let appending = tokio::spawn({
            let (log, uid) = (log.clone(), uid.clone());
            async move { log.append(&uid, one("after"), None).await.unwrap().first_offset }
        });
        let mut reader = log.reader(&uid, named(), StartAt::Latest).await.unwrap();
        let offset = appending.await.unwrap();
        assert_eq!(read(reader.as_mut()).await, (offset, "after".into()));
    }
}

#[tokio::test]
async fn what_is_behind_the_memory_is_found_by_offset_and_by_time() {
    let Some(nats) = Nats::start() else { return };
    let log = connect(&nats, "one").await;
    log.configure(&stream(), lasting());
    for index in 0..50 {
        log.append(&stream(), Batch::of([index.to_string(), "+".into()]).unwrap(), None).await.unwrap();
    }
    let time = {
        let mut reader = log.reader(&stream(), ReaderId::Passing, StartAt::Cursor(below(60))).await.unwrap();
        reader.next(1, 1 << 20).await.unwrap().appended_ms
    };
    log.close().await;
    let log = connect(&nats, "one").await;
    log.configure(&stream(), lasting());
    for offset in [0, 1, 37, 98, 99] {
        let at = StartAt::Cursor(below(offset));
        let mut reader = log.reader(&stream(), ReaderId::Passing, at).await.unwrap();
        let lag = reader.lag();
        assert_eq!(lag.records, 100 - offset);
        let expected = if offset % 2 == 1 { "+".to_owned() } else { (offset / 2).to_string() };
        assert_eq!(read(reader.as_mut()).await, (offset, expected));
        assert!(reader.lag().bytes < lag.bytes);
    }
    let mut reader = log.reader(&stream(), ReaderId::Passing, StartAt::Time(time)).await.unwrap();
    let entries = reader.next(1, 1 << 20).await.unwrap();
    assert!(entries.first_offset <= 60 && entries.appended_ms == time);
    let reader = log.reader(&stream(), ReaderId::Passing, StartAt::Time(i64::MAX)).await.unwrap();
    assert_eq!(reader.position(), 100);
}

/// Appends from several tasks while the server goes and comes; then everything is there once, and in its place.
async fn survives(mut nats: Nats, disturb: impl Fn(&mut Nats)) {
    let log = Arc::new(connect(&nats, "one").await);
    log.configure(&stream(), lasting());
    let mut reader = log.reader(&stream(), named(), StartAt::Oldest).await.unwrap();
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4 {
        let (log, stopped) = (log.clone(), stopped.clone());
        tasks.spawn(async move {
            let mut appended = Vec::new();
            while !*stopped.borrow() {
                let text = format!("{task}:{}", appended.len());
                let receipt = log.append(&stream(), one(&text), Some(text.clone().into())).await.unwrap();
                appended.push((receipt.first_offset, text));
            }
            appended
        });
    }
    let reading = tokio::spawn(async move {
        let mut seen = BTreeMap::new();
        loop {
            tokio::select! {
                () = read_into(&mut seen, reader.as_mut()) => {}
                _ = stopped.wait_for(|stopped| *stopped) => return (reader, seen),
            }
        }
    });
    for _ in 0..3 {
        let from = log.usage(&stream()).next_offset;
        until("records are appended", || log.usage(&stream()).next_offset > from + 200).await;
        disturb(&mut nats);
    }
    let from = log.usage(&stream()).next_offset;
    until("records are appended again", || log.usage(&stream()).next_offset > from + 200).await;
    until("there is no trouble", || log.health().trouble.is_none()).await;
    stop.send(true).unwrap();
    let mut appended = BTreeMap::new();
    while let Some(task) = tasks.join_next().await {
        for (offset, text) in task.unwrap() {
            assert_eq!(appended.insert(offset, text), None, "an offset was given twice");
        }
    }
    let (mut reader, mut seen) = reading.await.unwrap();
    seen.extend(read_until(reader.as_mut(), log.usage(&stream()).next_offset).await);
    let expected = (0..appended.len() as u64).collect::<Vec<_>>();
    assert_eq!(appended.keys().copied().collect::<Vec<_>>(), expected, "offsets have gaps");
    assert!(seen == appended, "what was read is not what was appended");
    drop(reader);
    let mut again = log.reader(&stream(), ReaderId::Passing, StartAt::Oldest).await.unwrap();
    let all = read_until(again.as_mut(), expected.len() as u64).await;
    assert!(all == appended, "it reads otherwise from the beginning");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_server_loses_and_doubles_nothing() {
    let Some(nats) = Nats::start() else { return };
    survives(nats, |nats| {
        nats.down();
        nats.up();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_of_the_server_loses_and_doubles_nothing() {
    let Some(nats) = Nats::start() else { return };
    survives(nats, |nats| {
        nats.kill();
        nats.up();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_waited_for_and_told_of() {
    let Some(nats) = Nats::start() else { return };
    let log = connect(&nats, "one").await;
    log.configure(&stream(), lasting());
    log.append(&stream(), one("a"), None).await.unwrap();
    nats.halt();
    let stream = stream();
    let mut append = std::pin::pin!(log.append(&stream, one("b"), None));
    let mut trouble = std::pin::pin!(until("the trouble is told", || log.health().trouble.is_some()));
    tokio::select! {
        result = &mut append => panic!("appended to a server that hangs: {result:?}"),
        () = &mut trouble => {}
    }
    nats.resume();
    assert_eq!(append.await.unwrap().first_offset, 1);
    until("the trouble is over", || log.health().trouble.is_none()).await;
    let mut reader = log.reader(&stream, ReaderId::Passing, StartAt::Oldest).await.unwrap();
    assert_eq!(read_until(reader.as_mut(), 2).await.into_values().collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_closes_though_the_server_hangs_or_is_gone() {
    let Some(mut nats) = Nats::start() else { return };
    for gone in [false, true] {
        let log = Arc::new(connect(&nats, "one").await);
        log.configure(&stream(), lasting());
        log.append(&stream(), one("a"), None).await.unwrap();
        let mut reader = log.reader(&stream(), named(), StartAt::Latest).await.unwrap();
        if gone {
            nats.down();
        } else {
            nats.halt();
        }
        reader.commit(&below(1));
        let appending = log.clone();
        let append = tokio::spawn(async move { appending.append(&stream(), one("b"), None).await });
        let reading = tokio::spawn(async move { reader.next(1, 1).await });
        tokio::time::timeout(PATIENCE, log.close()).await.expect("the log closes");
        assert_eq!(tokio::time::timeout(PATIENCE, append).await.unwrap().unwrap(), Err(LogError::Closed));
        assert_eq!(tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap(), Err(LogError::Closed));
        if gone {
            nats.up();
        } else {
            nats.resume();
        }
    }
}

#[tokio::test]
async fn a_second_writer_is_told_who_writes_and_may_follow() {
    let Some(nats) = Nats::start() else { return };
    let (first, second) = (connect(&nats, "first").await, connect(&nats, "second").await);
    for log in [&first, &second] {
        log.configure(&stream(), lasting());
    }
    first.append(&stream(), one("a"), None).await.unwrap();
    let refused = second.append(&stream(), one("b"), None).await.unwrap_err();
    let who = "written by another runtime, first;";
    assert!(matches!(&refused, LogError::Unavailable(why) if why.contains(who)), "{refused}");
    let mut reader = second.reader(&stream(), ReaderId::Passing, StartAt::Oldest).await.unwrap();
    assert_eq!(read(reader.as_mut()).await, (0, "a".into()));
    first.append(&stream(), one("c"), None).await.unwrap();
    assert_eq!(read(reader.as_mut()).await, (1, "c".into()), "what another runtime appends is read");

    // The same owner comes back, as after a crash: it goes on at once, and the one before is told.
    let again = connect(&nats, "first").await;
    again.configure(&stream(), lasting());
    assert_eq!(again.append(&stream(), one("d"), None).await.unwrap().first_offset, 2);
    let fenced = first.append(&stream(), one("e"), None).await.unwrap_err();
    assert!(matches!(&fenced, LogError::Unavailable(why) if why.contains(who)), "{fenced}");
    again.close().await;
    assert_eq!(second.append(&stream(), one("f"), None).await.unwrap().first_offset, 3);
    let mut reader = second.reader(&stream(), ReaderId::Passing, StartAt::Oldest).await.unwrap();
    let all = read_until(reader.as_mut(), 4).await;
    assert_eq!(all.into_values().collect::<Vec<_>>(), ["a", "c", "d", "f"]);
}

#[tokio::test]
async fn a_reader_that_another_runtime_opened_ends() {
    let Some(nats) = Nats::start() else { return };
    let (first, second) = (connect(&nats, "first").await, connect(&nats, "second").await);
    for log in [&first, &second] {
        log.configure(&stream(), lasting());
    }
    first.append(&stream(), one("a"), None).await.unwrap();
    let mut old = first.reader(&stream(), named(), StartAt::Oldest).await.unwrap();
    assert_eq!(read(old.as_mut()).await, (0, "a".into()));
    let mut new = second.reader(&stream(), named(), StartAt::Latest).await.unwrap();
    old.commit(&below(1));
    let ended = tokio::time::timeout(PATIENCE, old.next(1, 1)).await.expect("the reader ends");
    assert_eq!(ended, Err(LogError::Closed));
    assert_eq!(read(new.as_mut()).await, (0, "a".into()), "the commit of a reader that ended does not count");
}

#[tokio::test]
async fn empty_and_largest_records_and_batches_over_a_message_pass() {
    let Some(nats) = Nats::start() else { return };
    let log = connect(&nats, "one").await;
    log.configure(&stream(), lasting());
    let largest = log.guarantees(Durability::System).largest_record;
    assert!(largest > 1_000_000, "{largest}");
    let records = [Vec::new(), vec![1; largest], Vec::new(), vec![2; largest], vec![3; largest / 2]];
    let mut reader = log.reader(&stream(), ReaderId::Passing, StartAt::Oldest).await.unwrap();
    let position = vec![7; 8 << 10];
    let receipt = log.append(&stream(), Batch::of(&records).unwrap(), Some(position.clone())).await.unwrap();
    assert_eq!(receipt.first_offset, 0);
    let refused = log.append(&stream(), Batch::of([vec![0; largest + 1]]).unwrap(), None).await;
    assert_eq!(refused, Err(LogError::RecordTooLarge { index: 0, size: largest + 1, limit: largest }));
    let mut seen = Vec::new();
    while seen.len() < records.len() {
        let entries = tokio::time::timeout(PATIENCE, reader.next(10, 1 << 20)).await.unwrap().unwrap();
        assert_eq!(entries.first_offset, seen.len() as u64);
        seen.extend(entries.records.iter().map(|record| record.payload.to_vec()));
    }
    assert!(seen == records);
    assert_eq!(log.position(&stream()).await.unwrap(), Some(position));
}

#[tokio::test]
async fn what_was_read_goes_as_the_stream_says_and_nothing_else() {
    let Some(nats) = Nats::start() else { return };
    let log = connect(&nats, "one").await;
    let keep = Keep { bytes: 300, ..Keep::default() };
    log.configure(&stream(), StreamOptions { keep, ..lasting() });
    let mut reader = log.reader(&stream(), named(), StartAt::Latest).await.unwrap();
    for _ in 0..10 {
        log.append(&stream(), Batch::of([[0; 100]]).unwrap(), None).await.unwrap();
    }
    while reader.position() < 10 {
        reader.next(1, 1).await.unwrap();
    }
    reader.commit(&below(8));
    until("what was read is removed", || log.usage(&stream()).first_offset == 5).await;
    let slow = ReaderId::Named("slow".into());
    let mut unread = log.reader(&stream(), slow, StartAt::Oldest).await.unwrap();
    assert_eq!((unread.position(), log.usage(&stream()).dropped), (5, 0));

    // Age removes what was not read only where that was asked for, and it is counted.
    let keep = Keep { age: Duration::from_millis(1), even_unread: true, ..keep };
    log.configure(&stream(), StreamOptions { keep, ..lasting() });
    until("what is old is removed", || log.usage(&stream()).first_offset == 9).await;
    assert_eq!(log.usage(&stream()).dropped, 4);
    assert_eq!(unread.next(1, 1).await.unwrap().first_offset, 9);
}

#[tokio::test]
async fn a_full_stream_does_what_it_says() {
    let Some(nats) = Nats::start() else { return };
    let log = connect(&nats, "one").await;
    let bounds = Bounds { records: 100, bytes: 1 << 20 };
    let oldest = StreamOptions { bounds, when_full: WhenFull::DropOldest, ..lasting() };
    log.configure(&stream(), oldest);
    drop(log.reader(&stream(), named(), StartAt::Latest).await.unwrap());
    for index in 0..150 {
        assert!(log.append(&stream(), one(&index.to_string()), None).await.unwrap().taken);
    }
    assert_eq!(log.usage(&stream()).dropped, 50);
    log.close().await;

    // A runtime that has just begun, and remembers no messages, drops the same.
    let log = connect(&nats, "one").await;
    log.configure(&stream(), oldest);
    for index in 150..160 {
        log.append(&stream(), one(&index.to_string()), None).await.unwrap();
    }
    assert_eq!(log.usage(&stream()).dropped, 10);
    let mut reader = log.reader(&stream(), named(), StartAt::Latest).await.unwrap();
    let seen = read_until(reader.as_mut(), 160).await;
    assert_eq!((seen.len(), seen.keys().next()), (100, Some(&60)));
    drop(reader);
    log.configure(&stream(), StreamOptions { when_full: WhenFull::DropNewest, ..oldest });
    let fill = Batch::of((160..260).map(|index: u32| index.to_string())).unwrap();
    assert!(log.append(&stream(), fill, None).await.unwrap().taken);
    assert!(!log.append(&stream(), one("no"), None).await.unwrap().taken);
    assert_eq!(log.usage(&stream()).dropped, 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_server_is_backpressure() {
    let Some(nats) = Nats::start_with("max_file_store: 2MB") else { return };
    let log = connect(&nats, "one").await;
    log.configure(&stream(), StreamOptions { keep: Keep { bytes: 0, ..Keep::default() }, ..lasting() });
    let mut reader = log.reader(&stream(), named(), StartAt::Oldest).await.unwrap();
    let batch = || Batch::of([vec![0; 300_000]]).unwrap();
    let mut appended = 0;
    let stream = stream();
    let mut append = Box::pin(log.append(&stream, batch(), None));
    loop {
        tokio::select! {
            receipt = &mut append => {
                receipt.unwrap();
                appended += 1;
                assert!(appended < 20, "the server takes more than it has");
                append = Box::pin(log.append(&stream, batch(), None));
            }
            () = until("the stream is full", || log.health().trouble.is_some()) => break,
        }
    }
    assert!(appended > 2);
    while reader.position() < appended {
        reader.next(1, 1).await.unwrap();
    }
    reader.commit(&below(appended));
    let receipt = tokio::time::timeout(PATIENCE, append).await.expect("there is room again").unwrap();
    assert_eq!(receipt.first_offset, appended);
    until("the trouble is over", || log.health().trouble.is_none()).await;
}

#[tokio::test]
async fn a_hole_in_the_middle_is_told_and_not_skipped() {
    let Some(nats) = Nats::start() else { return };
    let log = connect(&nats, "one").await;
    log.configure(&stream(), lasting());
    for index in 0..3 {
        log.append(&stream(), one(&index.to_string()), None).await.unwrap();
    }
    let client = async_nats::connect(nats.url()).await.unwrap();
    let context = async_nats::jetstream::new(client);
    context.get_stream("ferrule-stream").await.unwrap().delete_message(2).await.unwrap();
    let mut reader = log.reader(&stream(), ReaderId::Passing, StartAt::Oldest).await.unwrap();
    assert_eq!(read(reader.as_mut()).await, (0, "0".into()));
    for _ in 0..2 {
        let damaged = tokio::time::timeout(PATIENCE, reader.next(1, 1)).await.unwrap().unwrap_err();
        assert!(matches!(damaged, LogError::Damaged { from: 1, until: 2, .. }), "{damaged}");
    }
    let mut after = log.reader(&stream(), ReaderId::Passing, StartAt::Cursor(below(2))).await.unwrap();
    assert_eq!(read(after.as_mut()).await, (2, "2".into()));
}

#[tokio::test]
async fn offsets_never_go_back_though_nats_lost_records() {
    let Some(nats) = Nats::start() else { return };
    let log = connect(&nats, "one").await;
    log.configure(&stream(), lasting());
    let mut reader = log.reader(&stream(), named(), StartAt::Oldest).await.unwrap();
    for index in 0..3 {
        log.append(&stream(), one(&index.to_string()), None).await.unwrap();
    }
    read_until(reader.as_mut(), 3).await;
    log.close().await;
    let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    context.get_stream("ferrule-stream").await.unwrap().delete_message(3).await.unwrap();

    let log = connect(&nats, "one").await;
    log.configure(&stream(), lasting());
    let mut reader = log.reader(&stream(), named(), StartAt::Oldest).await.unwrap();
    assert_eq!(log.append(&stream(), one("new"), None).await.unwrap().first_offset, 3);
    assert_eq!(read(reader.as_mut()).await, (3, "new".into()));
    let findings = log.health().findings;
    assert!(findings.iter().any(|finding| finding.contains("lost records 2 to 3 of stream stream")), "{findings:?}");
}

#[tokio::test]
async fn a_server_that_comes_later_is_waited_for() {
    let Some(mut nats) = Nats::start() else { return };
    nats.down();
    let log = PatientNatsLog::start(NatsOptions::new(nats.url(), "one"));
    assert!(log.asked(PATIENCE).await.unwrap_err().contains(&nats.url()));
    log.configure(&stream(), lasting());
    assert!(log.guarantees(Durability::System).replayable);
    let early = log.position(&stream()).await.unwrap_err();
    assert!(matches!(&early, LogError::Unavailable(why) if why.contains(&nats.url())), "{early}");
    assert!(log.health().trouble.is_some_and(|why| why.contains(&nats.url())));
    nats.up();
    until("it is connected", || log.health().trouble.is_none()).await;
    let mut reader = log.reader(&stream(), named(), StartAt::Latest).await.unwrap();
    assert_eq!(log.append(&stream(), one("a"), None).await.unwrap().first_offset, 0);
    assert_eq!(read(reader.as_mut()).await, (0, "a".into()));
    assert_eq!(log.streams(), [stream()], "it is kept as it was told before it was connected");
    log.close().await;
    assert_eq!(log.append(&stream(), one("late"), None).await, Err(LogError::Closed));

    nats.down();
    let log = PatientNatsLog::start(NatsOptions::new(nats.url(), "one"));
    log.close().await;
    assert_eq!(log.position(&stream()).await, Err(LogError::Closed));
}

#[tokio::test]
async fn the_streams_of_another_owner_are_left_alone() {
    let Some(nats) = Nats::start() else { return };
    let first = connect(&nats, "first").await;
    first.configure(&stream(), lasting());
    first.append(&stream(), one("a"), None).await.unwrap();
    let second = connect(&nats, "second").await;
    assert!(second.streams().is_empty());
    assert_eq!(connect(&nats, "first").await.streams(), [stream()]);
}

#[tokio::test]
async fn a_server_that_does_not_answer_or_does_not_do_is_named() {
    let options = NatsOptions::parse("nats://user:secret@127.0.0.1:1", "one").unwrap();
    let error = NatsLog::connect(options).await.unwrap_err();
    assert!(matches!(error, NatsError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("nats://127.0.0.1:1") && !error.to_string().contains("secret"), "{error}");
    let mut options = NatsOptions::new("nats://127.0.0.1:1", "one");
    options.prefix = "a.b".into();
    assert!(matches!(NatsLog::connect(options).await, Err(NatsError::Option(_))));
}
