//! How long a server takes from its start to its first record, with how many streams, and what memory an idle stream takes.

use anyhow::Result;
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Options;
use crate::clock;
use crate::measure::Spread;
use crate::report::{Expected, Report, Table, nanoseconds, spread};
use crate::run::folder;
use crate::server::Server;

const MOST: usize = 1_000;

const STREAMS: [usize; 3] = [1, 100, MOST];

/// A file may hold 1,000 documents.
const STREAMS_IN_A_FILE: usize = 500;

pub(crate) async fn run(options: &Options) -> Result<Report> {
    let head = [
        "idle streams",
        "first record (least – most)",
        "all open (least – most)",
        "CPU until then",
        "memory",
        "memory per stream",
    ];
    let mut table = Table::new(&head);
    let mut expected = Vec::new();
    let mut alone = None;
    for streams in STREAMS {
        if !options.wants(&streams.to_string()) {
            continue;
        }
        let folder = folder()?;
        let data = folder.path().join("data");
        let mut server = Server::start(&data)?;
        for file in documents(streams) {
            server.apply(&data, &file)?;
        }
        open(&mut server, streams)?;
        server.end()?;
        // From here on everything is in the store and the compiled forms are kept: what a start finds is what an operator's does.
        let mut turns: [Vec<f64>; 4] = Default::default();
        for _ in 0..options.turns {
            for (turns, figure) in turns.iter_mut().zip(turn(&data, streams)?) {
                turns.push(figure);
            }
        }
        let [first, all, cpu, memory] = turns.map(Spread::of);
        let base = *alone.get_or_insert(memory.median);
        let each = (memory.median - base) / streams.saturating_sub(1).max(1) as f64;
        eprintln!("start: {streams}: first {}, all {}", nanoseconds(first.median), nanoseconds(all.median));
        table.rows.push(vec![
            streams.to_string(),
            spread(first),
            spread(all),
            nanoseconds(cpu.median),
            format!("{:.1} MiB", memory.median / f64::from(1 << 20)),
            if streams == 1 { "–".to_owned() } else { format!("{:.0} KiB", each / 1024.0) },
        ]);
        table.data.push(json!({
            "streams": streams, "first_record_ns": first.json(), "all_open_ns": all.json(), "cpu_ns": cpu.json(),
            "memory_bytes": memory.json(),
        }));
        if streams == MOST {
            expected.push(Expected {
                what: "1,000 idle streams: memory for each".into(),
                wanted: "≤ 96 KiB".into(),
                found: format!("{:.0} KiB", each / 1024.0),
                met: each <= 96.0 * 1024.0,
            });
            expected.push(Expected {
                what: "1,000 idle streams: all open, from a warm compiled cache".into(),
                wanted: "≤ 1 s".into(),
                found: nanoseconds(all.median),
                met: all.median <= 1e9,
            });
        }
    }
    let method = "`ferrule serve` is started on a data folder that holds the streams already, with the compiled forms of its guests; the \
                  time runs from the start of the process until `/metrics` shows the first record delivered by a pipeline, and until it \
                  shows every stream open. CPU is the processor time of the process until then, on all its threads. Memory is what the process holds alone (private pages) two seconds later; per stream, it \
                  is what more streams add to one."
        .to_owned();
    Ok(Report { suite: "start", method, tables: vec![table], expected })
}

/// Nanoseconds until the first record and until all are open, those of processor time, and bytes of memory then.
fn turn(data: &Path, streams: usize) -> Result<[f64; 4]> {
    let begun = Instant::now();
    let mut server = Server::start(data)?;
    server.wait("a record is delivered", |metrics| metrics.sum("ferrule_pipeline_delivered_total", "") > 0.0)?;
    let first = begun.elapsed();
    open(&mut server, streams)?;
    let all = begun.elapsed();
    let cpu = clock::of(server.process())?;
    // Idle means idle: what starting up left behind has settled by then.
    std::thread::sleep(Duration::from_secs(2));
    let memory = clock::memory(server.process())?;
    server.end()?;
    Ok([first.as_nanos() as f64, all.as_nanos() as f64, cpu.as_nanos() as f64, memory as f64])
}

/// Waits until every source and the sink are open.
fn open(server: &mut Server, streams: usize) -> Result<()> {
    server.wait("all streams are open", |metrics| metrics.sum("ferrule_stream_up", "") >= (streams + 1) as f64)
}

/// Sources that give one record at once and then none for an hour, and one pipeline that reads them all, in files that are
/// small enough.
fn documents(streams: usize) -> Vec<String> {
    let mut files = vec![
        "apiVersion: connector.ferrule.dev/v1
kind: Project
metadata: {name: bench}
spec: {description: idle streams}
---
apiVersion: connector.ferrule.dev/v1
kind: Category
metadata: {name: Kind}
spec: {values: [idle]}
---
apiVersion: connector.ferrule.dev/v1
kind: Instance
metadata: {name: numbers, namespace: bench}
spec: {project: bench, class: generator}
---
apiVersion: connector.ferrule.dev/v1
kind: Instance
metadata: {name: nowhere, namespace: bench}
spec: {project: bench, class: blackhole}
---
apiVersion: connector.ferrule.dev/v1
kind: Stream
metadata: {name: out, namespace: bench}
spec: {instance: nowhere, direction: EGRESS}
---
apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {name: all, namespace: bench}
spec: {project: bench, selectors: {Kind: [idle]}, sink: nowhere/out}
"
        .to_owned(),
    ];
    for number in 0..streams {
        if number % STREAMS_IN_A_FILE == 0 {
            files.push(String::new());
        }
        let Some(file) = files.last_mut() else { continue };
        // Writing to a `String` cannot fail.
        let _ = write!(
            file,
            "---
apiVersion: connector.ferrule.dev/v1
kind: Stream
metadata: {{name: idle-{number}, namespace: bench}}
spec: {{instance: numbers, direction: INGRESS, labels: {{Kind: idle}}, parameters: {{rate: 0.0003}}}}
"
        );
    }
    files
}
