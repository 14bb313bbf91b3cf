//! What is fuzzed: each takes bytes of a stranger's and must neither panic nor go on for ever. What it accepts must hold together.

use anyhow::Result;
use bytes::Bytes;
use ferrule_api::proto;
use ferrule_model::capability::{Ability, AbilityKind, Allowance, Host, Rules, Verdict};
use ferrule_model::record::{Batch, Column, HeadersRef, Rejection, Transformed};
use ferrule_model::{Uid, document, plain, schema};
use ferrule_transport::{Durability, EmbeddedLog, EmbeddedOptions, Log as _, StreamOptions};
use prost::Message as _;
use std::net::IpAddr;
use std::path::Path;

/// One reader.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// What it is good at.
    pub(crate) seeds: fn() -> Result<Vec<Vec<u8>>>,
    pub(crate) run: fn(&[u8]),
}

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "batch", seeds: batches, run: batch },
    Target { name: "grant", seeds: grants, run: grant },
    Target { name: "document", seeds: documents, run: document },
    Target { name: "log", seeds: journals, run: journal },
    Target { name: "wire", seeds: messages, run: wire },
];

fn texts(texts: &[&str]) -> Result<Vec<Vec<u8>>> {
    Ok(texts.iter().map(|text| text.as_bytes().to_vec()).collect())
}

// ---- batches and outputs, as a guest gives them

fn batches() -> Result<Vec<Vec<u8>>> {
    Ok(vec![vec![3; 64], (0..=255).collect(), vec![2, 1, 2, 0, 1, 2, 1, 2, 1, 2, 3, 0, 0, 0, 0, 0]])
}

/// Records that the host asks for.
const ASKED: u32 = 1_000;

/// Takes an input apart.
struct Parts<'a>(&'a [u8]);

impl Parts<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u32 {
        match self.byte() {
            byte @ 0..=199 => u32::from(byte % 8),
            byte => u32::MAX - u32::from(byte % 4),
        }
    }

    fn numbers(&mut self) -> Vec<u32> {
        (0..self.byte() % 6).map(|_| self.number()).collect()
    }

    fn column(&mut self) -> Column {
        let length = usize::from(self.byte() % 16).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        Column::new(Bytes::copy_from_slice(bytes), self.numbers())
    }

    fn batch(&mut self) -> Batch {
        Batch {
            count: self.number(),
            payload: self.column(),
            key: self.column(),
            headers: self.column(),
            timestamps: self.numbers().into_iter().map(i64::from).collect(),
            tokens: self.numbers().into_iter().map(u64::from).collect(),
            upstream_ids: self.column(),
            record_ids: self.column(),
            attempts: self.numbers().into(),
            extra: Vec::new(),
        }
    }
}

fn batch(bytes: &[u8]) {
    let mut parts = Parts(bytes);
    let batch = parts.batch();
    // The host asks for so many at most; records of nothing but a count hold together, however many they are.
    if batch.check().is_err() || batch.count > ASKED {
        return;
    }
    let records: usize = batch.iter().map(|record| record.size()).sum();
    assert!(records <= batch.size() + batch.len() * 64, "records are more than the batch");
    for row in 0..batch.len() {
        if let Ok(headers) = HeadersRef::parse(batch.headers.get(row)) {
            drop(headers.iter().collect::<Vec<_>>());
        }
    }
    let rows: Vec<u32> = (0..batch.count).rev().collect();
    if let Ok(turned) = batch.select(&rows) {
        assert_eq!((turned.len(), turned.check().is_ok()), (batch.len(), true));
    }
    let halves = [batch.slice(0..batch.len() / 2), batch.slice(batch.len() / 2..batch.len())];
    if let Ok(whole) = Batch::concat(&halves) {
        assert_eq!(whole.len(), batch.len());
    }
    let output = Transformed {
        origins: parts.numbers(),
        also: parts.numbers().into_iter().zip(parts.numbers()).collect(),
        changes: parts.numbers().into_iter().map(|number| number as u8).collect(),
        payload: parts.column(),
        key: parts.column(),
        headers: parts.column(),
        timestamps: parts.numbers().into_iter().map(i64::from).collect(),
        routes: parts.numbers().into_iter().map(|number| number as u16).collect(),
        rejected: parts
            .numbers()
            .into_iter()
            .map(|number| Rejection { record_ref: number.into(), reason: String::new() })
            .collect(),
        extra: Vec::new(),
    };
    if output.check(&batch).is_ok()
        && let Ok(assembled) = output.assemble(&batch)
    {
        assert_eq!((assembled.len(), assembled.check().is_ok()), (output.len(), true));
    }
}

// ---- grants

fn grants() -> Result<Vec<Vec<u8>>> {
    texts(&[
        "broker.example.com:1883\nbroker.example.com\n192.0.2.1",
        "*.example.com:8000-8099\na.example.com\n10.0.0.1",
        "[2001:db8::1]:443\n2001:db8::1\n2001:db8::1",
        "10.0.0.0/8:*\n10.1.2.3\n::ffff:10.1.2.3",
        "mqtts://user:password@host/path?query\nhost\n169.254.169.254",
        "{broker}\nlocalhost\n127.0.0.1",
        "127.0.0.1:1883\n64:ff9b::7f00:1\n::1",
        "/srv/data/../x\n\n",
    ])
}

fn grant(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    drop(plain::line(&text));
    let mut lines = text.lines();
    let [target, host, address] = [(); 3].map(|()| lines.next().unwrap_or_default());
    for kind in ["tcp", "udp", "tls", "http", "https", "resolve", "listen", "read", "write", "env", "secret"] {
        let Ok(kind) = AbilityKind::parse(kind) else { continue };
        let entry = Allowance::new(kind, target);
        let _ = (entry.check(), entry.check_denial());
        let Ok(ability) = Ability::parse(kind, target) else { continue };
        let again = ability.allowance();
        let told = Ability::parse(kind, &again.target);
        assert!(
            told.is_ok_and(|told| told.to_string() == ability.to_string()),
            "`{target}` is told as `{}`",
            again.target
        );
        let (Ok(host), Ok(address)) = (Host::parse(host), address.parse::<IpAddr>()) else { continue };
        let rules: Rules = vec![ability.clone()].into();
        let denied = Rules { allowed: vec![ability.clone()], denied: vec![ability] };
        for port in [0, 443, 1883, 8050] {
            let _ = rules.name(kind, &host, port);
            if matches!(rules.address(kind, &host, address, port), Verdict::Allowed(_)) {
                let verdict = denied.address(kind, &host, address, port);
                assert!(!matches!(verdict, Verdict::Allowed(_)), "a denial of `{target}` does not win");
            }
        }
    }
}

// ---- documents

fn documents() -> Result<Vec<Vec<u8>>> {
    texts(&[
        "apiVersion: connector.ferrule.dev/v1\nkind: Pipeline\nmetadata: {name: a}\nspec:\n  source: {class: mqtt, parameters: {broker: 'mqtt://b:1883', topics: ['#']}}\n  sink: {class: blackhole}\n",
        "apiVersion: connector.ferrule.dev/v1\nkind: Grant\nmetadata: {name: g}\nspec: {class: mqtt, allow: [{tcp: 'a:1'}], limits: {memory: 16MiB, cpu: 20}}\n",
        "kind: Class\nmetadata: {name: c}\nspec: {streamSchema: {type: object, properties: {a: {pattern: '^(a+)+$'}}}}\n---\nkind: Stream\n",
        "{\"connectorInstanceID\": \"1\", \"direction\": \"INGRESS\", \"name\": \"s\", \"stream\": {\"a\": [1, 2.5e300, null]}}",
        "a: &a [1, 2]\nb: [*a, *a, *a]\nc: !!binary aGVsbG8=\nd: ${HOME:-x}\n? complex\n: key\n",
    ])
}

fn document(bytes: &[u8]) {
    let reading = document::read("fuzz.yaml", bytes, None, &|name| (name == "HOME").then(|| "/root".to_owned()));
    for diagnostic in &reading.diagnostics {
        assert!(!diagnostic.to_string().is_empty());
    }
    for object in &reading.objects {
        drop(object.to_native());
        drop(object.to_original());
        if let Some(found) = object.spec.get("streamSchema") {
            drop(schema::problems(found, "spec.streamSchema"));
        }
    }
}

// ---- the journal of the embedded log

fn folder() -> Result<tempfile::TempDir> {
    Ok(tempfile::tempdir()?)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

fn uid() -> Uid {
    Uid::from("s")
}

fn journals() -> Result<Vec<Vec<u8>>> {
    let folder = folder()?;
    runtime()?.block_on(async {
        let log = EmbeddedLog::open(EmbeddedOptions::new(folder.path()))?;
        log.configure(&uid(), StreamOptions::new(Durability::Disk));
        for payload in ["one", "two", "three"] {
            log.append(&uid(), Batch::of([payload])?, Some(payload.into())).await?;
        }
        anyhow::Ok(())
    })?;
    let name = segment(folder.path())?;
    Ok(vec![std::fs::read(folder.path().join(name))?])
}

/// The newest file of the journal.
fn segment(folder: &Path) -> Result<String> {
    let names = std::fs::read_dir(folder)?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".seg")).max().ok_or_else(|| anyhow::anyhow!("the log has no journal"))
}

fn journal(bytes: &[u8]) {
    let opened = || -> Result<()> {
        let folder = folder()?;
        std::fs::write(folder.path().join(format!("{:016}.seg", 1)), bytes)?;
        runtime()?.block_on(async {
            // What is damaged is told, or left out and told.
            let Ok(log) = EmbeddedLog::open(EmbeddedOptions::new(folder.path())) else { return Ok(()) };
            log.configure(&uid(), StreamOptions::new(Durability::Disk));
            let _ = (log.health(), log.usage(&uid()), log.position(&uid()).await);
            anyhow::Ok(())
        })
    };
    // A machine without room for a folder says nothing of the log.
    let _ = opened();
}

// ---- messages of the protocol

fn messages() -> Result<Vec<Vec<u8>>> {
    let stream = proto::StreamStatus {
        uid: "u".into(),
        name: "s".into(),
        limits: vec![proto::LimitStatus { name: "memory".into(), value: 1, text: "1".into(), reached: 2 }],
        ..proto::StreamStatus::default()
    };
    let status = proto::StatusResponse { streams: vec![stream], time_ms: 5, ..proto::StatusResponse::default() };
    Ok(vec![status.encode_to_vec(), vec![0x0a, 0x05, 0x0a, 0x03, b'a', b'b', b'c']])
}

fn wire(bytes: &[u8]) {
    if let Ok(status) = proto::StatusResponse::decode(bytes) {
        let again = proto::StatusResponse::decode(status.encode_to_vec().as_slice());
        // Numbers that are none differ from themselves, in words they do not.
        assert_eq!(again.map(|again| format!("{again:?}")).ok(), Some(format!("{status:?}")));
    }
    drop(proto::ApplyRequest::decode(bytes));
    drop(proto::RegisterRequest::decode(bytes));
    drop(proto::DiffResponse::decode(bytes));
}
