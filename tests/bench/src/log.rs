//! The log alone: batches appended, read back, and found again after a start; beside it JetStream's file storage and the disk.

use anyhow::{Context as _, Result, bail, ensure};
use async_trait::async_trait;
use ferrule_model::ids::Uid;
use ferrule_model::record::Batch;
use ferrule_transport::{Bounds, Durability, Log, ReaderId, StartAt, StreamOptions};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

use crate::Options;
use crate::clock;
use crate::measure::{Arm, Compared, Sample, Spread};
use crate::peer;
use crate::report::{Expected, Report, Table, nanoseconds, spread};
use crate::run::{LogKind, folder};

const SIZE: usize = 256;
const BATCH: usize = 1_000;

/// Batches in one turn of ours, and how many may wait for their append at once.
const BATCHES: usize = 400;
const AT_ONCE: usize = 8;

/// Messages in one turn of JetStream's, with its default and with a sync for each.
const MESSAGES: usize = 100_000;
const SYNCED_MESSAGES: usize = 2_000;

/// Bytes of a log that is opened again.
const RECOVERED: u64 = 1 << 30;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(options: &Options) -> Result<Report> {
    let mut expected = Vec::new();
    let mut table = Table::of_arms("what");
    let peers = if options.peers { jetstream_programs()? } else { None };
    if options.wants("append") {
        let mut arms: Vec<Box<dyn Arm>> = Vec::new();
        for kind in LogKind::all() {
            for durability in [Durability::Process, Durability::System, Durability::Disk] {
                if kind.lasts || durability == Durability::Process {
                    arms.push(Box::new(Append { name: name(&kind, durability), kind: kind.clone(), durability }));
                }
            }
        }
        arms.push(Box::new(Disk));
        for synced in [false, true] {
            if let Some((server, client)) = &peers {
                let (server, client) = (server.clone(), client.clone());
                arms.push(Box::new(JetStream { server, client, synced, what: "append" }));
            }
        }
        let compared = options.compare("append", arms).await?;
        table.add_arms("append", &json!({ "what": "append" }), &compared);
        expected.extend(judge_append(&compared));
    }
    if options.wants("read") {
        let mut arms: Vec<Box<dyn Arm>> = Vec::new();
        for kind in LogKind::all() {
            arms.push(Box::new(Read { name: kind.name.to_owned(), kind }));
        }
        if let Some((server, client)) = peers {
            arms.push(Box::new(JetStream { server, client, synced: false, what: "read" }));
        }
        let compared = options.compare("read", arms).await?;
        table.add_arms("read", &json!({ "what": "read" }), &compared);
        let embedded = compared.get("embedded").map(|figures| figures.rate.median / 1e6);
        expected.extend(embedded.map(|rate| Expected {
            what: "embedded log: reading back, records/s".into(),
            wanted: "≥ 3 M".into(),
            found: format!("{rate:.2} M"),
            met: rate >= 3.0,
        }));
    }
    let recovered: Vec<LogKind> = LogKind::all().into_iter().filter(|kind| kind.lasts).collect();
    let mut again = Table::new(&["log opened again", "bytes", "time (least – most)"]);
    for kind in recovered.iter().filter(|_| options.wants("recover")) {
        for (how, crashed) in [("after it was closed", false), ("after its process was gone at once", true)] {
            let times = recover(kind, crashed, options.turns).await?;
            let title = format!("{}, {how}", kind.name);
            again.rows.push(vec![title, format!("{} MiB", RECOVERED >> 20), spread(times)]);
            again.data.push(json!({
                "what": "recover", "log": kind.name, "crashed": crashed, "bytes": RECOVERED, "time_ns": times.json(),
            }));
            expected.push(Expected {
                what: format!("{} log: recovery of 1 GiB {how}", kind.name),
                wanted: "≤ 2 s".into(),
                found: nanoseconds(times.median),
                met: times.median <= 2e9,
            });
        }
    }
    let method = format!(
        "Records of {SIZE} B; ours in batches of {BATCH}, {AT_ONCE} appends under way at once. An append counts when the log answers that it \
         is kept as the arm's name says; what is read is counted and its contents summed. *disk* writes batches of the same size to \
         a file and syncs after each {AT_ONCE}. JetStream (nats-server 2.15.2, file storage) is written by a Go client with 10,000 \
         messages under way, once with its default, which answers before a sync, and once with `sync_interval: always`; its \
         processor time is the server's alone."
    );
    Ok(Report { suite: "log", method, tables: vec![table, again], expected })
}

fn name(kind: &LogKind, durability: Durability) -> String {
    if !kind.lasts {
        return kind.name.to_owned();
    }
    let durability = match durability {
        Durability::Process => "memory",
        Durability::System => "os",
        Durability::Disk => "fsync",
    };
    format!("{}, {durability}", kind.name)
}

fn judge_append(compared: &Compared) -> Vec<Expected> {
    let ours = "embedded, fsync";
    let mut expected = Vec::new();
    for (peer, wanted) in [("JetStream", 4.0), ("JetStream, sync always", 150.0), ("disk", 0.8)] {
        let what = format!("embedded log with fsync against {peer}: records/s");
        expected.extend(Expected::at_least(what, wanted, compared.rate(ours, peer)));
    }
    expected
}

fn batch() -> Result<Batch> {
    Ok(Batch::of((0..BATCH).map(|number| format!("{number:0width$}", width = SIZE)))?)
}

/// A log that holds a turn's records and drops none.
fn opened(kind: &LogKind, durability: Durability, folder: &Path, stream: &Uid) -> Result<Arc<dyn Log>> {
    let log = kind.open(folder)?;
    let bounds = Bounds { records: u64::MAX, bytes: u64::MAX };
    log.configure(stream, StreamOptions { bounds, ..StreamOptions::new(durability) });
    Ok(log)
}

struct Append {
    name: String,
    kind: LogKind,
    durability: Durability,
}

#[async_trait]
impl Arm for Append {
    fn name(&self) -> &str {
        &self.name
    }

    async fn turn(&mut self) -> Result<Sample> {
        let (folder, stream) = (folder()?, Uid::from("bench"));
        let log = opened(&self.kind, self.durability, folder.path(), &stream)?;
        // A log that keeps records until they are read wants a reader.
        let _reader = log.reader(&stream, ReaderId::Passing, StartAt::Oldest).await?;
        let sample = fill(&log, &stream).await?;
        let held = log.usage(&stream).next_offset;
        ensure!(held == sample.records, "the log has {held} of {}", sample.records);
        log.close().await;
        Ok(sample)
    }
}

/// Appends a turn's records, some batches at once.
async fn fill(log: &Arc<dyn Log>, stream: &Uid) -> Result<Sample> {
    let batch = batch()?;
    let (start, cpu) = (Instant::now(), clock::own());
    let mut appending = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (log, stream, batch) = (log.clone(), stream.clone(), batch.clone());
        appending.spawn(async move {
            for _ in 0..BATCHES / AT_ONCE {
                log.append(&stream, batch.clone(), None).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = appending.join_next().await {
        done??;
    }
    Ok(Sample { records: (BATCHES * BATCH) as u64, wall: start.elapsed(), cpu: clock::own() - cpu })
}

struct Read {
    name: String,
    kind: LogKind,
}

#[async_trait]
impl Arm for Read {
    fn name(&self) -> &str {
        &self.name
    }

    async fn turn(&mut self) -> Result<Sample> {
        let (folder, stream) = (folder()?, Uid::from("bench"));
        // What a log on disk keeps in memory only is not read back.
        let durability = if self.kind.lasts { Durability::System } else { Durability::Process };
        let log = opened(&self.kind, durability, folder.path(), &stream)?;
        let mut reader = log.reader(&stream, ReaderId::Passing, StartAt::Oldest).await?;
        let records = fill(&log, &stream).await?.records;
        let (start, cpu) = (Instant::now(), clock::own());
        let (mut seen, mut sum) = (0, 0_u64);
        while seen < records {
            let entries = reader.next(BATCH as u32, 1 << 20).await?;
            ensure!(entries.first_offset == seen, "offset {} after {seen} records", entries.first_offset);
            seen += entries.records.len() as u64;
            sum += entries.records.iter().map(|record| u64::from(record.payload[SIZE - 1])).sum::<u64>();
        }
        let (wall, cpu) = (start.elapsed(), clock::own() - cpu);
        // Every batch ends in each digit equally often.
        ensure!(
            sum == records / 10 * (b'0'..=b'9').map(u64::from).sum::<u64>(),
            "what was read is not what was written"
        );
        log.close().await;
        Ok(Sample { records, wall, cpu })
    }
}

/// Nanoseconds until a log that was closed in an orderly way is open again and knows all its records.
async fn recover(kind: &LogKind, crashed: bool, turns: usize) -> Result<Spread> {
    let (folder, stream) = (folder()?, Uid::from("bench"));
    let log = opened(kind, Durability::System, folder.path(), &stream)?;
    // Read by nobody, so nothing of it is removed.
    let named = ReaderId::Named("bench".into());
    drop(log.reader(&stream, named, StartAt::Oldest).await?);
    while log.usage(&stream).bytes < RECOVERED {
        fill(&log, &stream).await?;
    }
    let held = log.usage(&stream).next_offset;
    let mut times = Vec::with_capacity(turns);
    for turn in 0..turns {
        if !crashed && turn == 0 {
            log.close().await;
        }
        // What a process leaves that is gone at once is what a log has on disk that is still open.
        let copy = if crashed { Some(copy_of(folder.path())?) } else { None };
        let place = copy.as_ref().unwrap_or(&folder).path();
        let begun = Instant::now();
        let again = kind.open(place)?;
        let found = again.usage(&stream).next_offset;
        times.push(begun.elapsed().as_nanos() as f64);
        ensure!(found == held, "{found} of {held} records were found again");
        again.close().await;
    }
    Ok(Spread::of(times))
}

/// A copy of a folder and of the folders in it.
fn copy_of(from: &Path) -> Result<TempDir> {
    let copy = folder()?;
    let mut open = vec![(from.to_path_buf(), copy.path().to_path_buf())];
    while let Some((from, to)) = open.pop() {
        std::fs::create_dir_all(&to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let to = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                open.push((entry.path(), to));
            } else {
                std::fs::copy(entry.path(), to)?;
            }
        }
    }
    Ok(copy)
}

/// What the disk itself takes.
struct Disk;

#[async_trait]
impl Arm for Disk {
    fn name(&self) -> &str {
        "disk"
    }

    async fn turn(&mut self) -> Result<Sample> {
        let folder = folder()?;
        let batch = vec![b'x'; BATCH * SIZE];
        let mut file = File::create(folder.path().join("file"))?;
        let (start, cpu) = (Instant::now(), clock::own());
        for _ in 0..BATCHES / AT_ONCE {
            for _ in 0..AT_ONCE {
                file.write_all(&batch)?;
            }
            file.sync_data()?;
        }
        Ok(Sample { records: (BATCHES * BATCH) as u64, wall: start.elapsed(), cpu: clock::own() - cpu })
    }
}

/// The server and the client that writes and reads it.
fn jetstream_programs() -> Result<Option<(PathBuf, PathBuf)>> {
    let server = peer::build("nats", "nats-server", "github.com/nats-io/nats-server/v2")?;
    let client = peer::build("nats", "nats-client", ".")?;
    Ok(server.zip(client))
}

struct JetStream {
    server: PathBuf,
    client: PathBuf,
    synced: bool,
    what: &'static str,
}

#[async_trait]
impl Arm for JetStream {
    fn name(&self) -> &str {
        if self.synced { "JetStream, sync always" } else { "JetStream" }
    }

    async fn turn(&mut self) -> Result<Sample> {
        let server = Server::start(&self.server, self.synced)?;
        if self.what == "read" {
            server.ask(&self.client, "append", self.synced)?;
        }
        let cpu = clock::of(server.child.id())?;
        let (records, wall) = server.ask(&self.client, self.what, self.synced)?;
        Ok(Sample { records, wall, cpu: clock::of(server.child.id())? - cpu })
    }
}

struct Server {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Server {
    fn start(program: &Path, synced: bool) -> Result<Server> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let folder = folder()?;
        let sync = if synced { "sync_interval: always" } else { "" };
        let store = folder.path().join("store");
        let config =
            format!("host: 127.0.0.1\nport: {port}\njetstream {{\n store_dir: \"{}\"\n {sync}\n}}\n", store.display());
        let path = folder.path().join("conf");
        std::fs::write(&path, config)?;
        let mut command = Command::new(program);
        command.arg("-c").arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("could not start {}", program.display()))?;
        let mut server = Server { child, port, _folder: folder };
        let limit = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("nats-server ended at once: {status}");
            }
            ensure!(Instant::now() < limit, "nats-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    fn ask(&self, client: &Path, what: &str, synced: bool) -> Result<(u64, Duration)> {
        let records = if synced { SYNCED_MESSAGES } else { MESSAGES };
        let url = format!("nats://127.0.0.1:{}", self.port);
        let order = json!({ "url": url, "records": records, "size": SIZE, "pending": 10_000 });
        let output = Command::new(client).arg(what).arg(order.to_string()).stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "the client of JetStream failed");
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        let seconds = answer["seconds"].as_f64().context("the client tells no time")?;
        Ok((answer["records"].as_u64().unwrap_or_default(), Duration::from_secs_f64(seconds)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            self.child.wait().ok();
        }
    }
}
