//! Panics in the middle of a batch, as a source and as a sink. Everything else must arrive, and nobody else may notice.
//!
//! The source gives the numbers below `TOTAL`, from its position on. With `"trap":"once"` it panics while it makes the batch from
//! `SOURCE_TRAP` on, unless it began there. The sink appends each payload to `lines.txt` in its folder; at `SINK_TRAP` it panics with
//! `"trap":"once"` the first time (a file remembers that), with `"trap":"always"` each time.

use naughty_connector::{
    Batch, Capability, Description, Error, Limits, Naughty, Opened, Outcomes, Pulled, Session, batch, description,
    empty, naughty,
};
use std::fs;
use std::io::Write as _;
use std::sync::Mutex;
use std::time::Duration;

const TOTAL: u64 = 60;
const STEP: u64 = 10;
const SOURCE_TRAP: u64 = 30;
const SINK_TRAP: &[u8] = b"37";

struct TrapsMidway;

#[derive(Clone, Default)]
struct State {
    parameters: String,
    began: u64,
    next: u64,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

fn state() -> Result<State, Error> {
    let state = STATE.lock().map_err(|_| Error::Failed("poisoned".into()))?.clone();
    state.ok_or_else(|| Error::Failed("not open".into()))
}

impl State {
    /// The text of a parameter; good enough for the flat parameters of a test.
    fn parameter(&self, name: &str) -> &str {
        let (_, rest) = self.parameters.split_once(&format!("\"{name}\":\"")).unwrap_or_default();
        rest.split('"').next().unwrap_or_default()
    }
}

impl Naughty for TrapsMidway {
    fn describe() -> Description {
        let folder = |kind: &str| Capability { kind: kind.into(), target: "{folder}".into(), reason: "a test".into() };
        Description { name: "traps-midway".into(), capabilities: vec![folder("write")], ..description() }
    }

    fn open(session: Session) -> Result<Opened, Error> {
        let position = session.position.and_then(|bytes| String::from_utf8(bytes).ok());
        let began = position.and_then(|text| text.parse().ok()).unwrap_or(0);
        let opened = State { parameters: session.parameters, began, next: began };
        *STATE.lock().map_err(|_| Error::Failed("poisoned".into()))? = Some(opened);
        Ok(Opened { replayable: true, properties: Vec::new() })
    }

    fn next(limits: Limits) -> Result<Pulled, Error> {
        let mut state = state()?;
        let end = TOTAL.min(state.next + STEP.min(limits.max_records.into()));
        if end == state.next {
            std::thread::sleep(Duration::from_millis(20));
            return Ok(Pulled { records: empty(), position: None });
        }
        let numbers: Vec<u64> = (state.next..end).collect();
        let mut payloads = Vec::new();
        for number in &numbers {
            payloads.push(number.to_string());
            let midway = *number >= SOURCE_TRAP + STEP / 2;
            if midway && state.began < SOURCE_TRAP && state.parameter("trap") == "once" {
                panic!("the pump burst after {} of {} records", payloads.len(), numbers.len());
            }
        }
        let payloads: Vec<&[u8]> = payloads.iter().map(String::as_bytes).collect();
        let mut records = batch(&payloads);
        records.tokens = numbers;
        state.next = end;
        *STATE.lock().map_err(|_| Error::Failed("poisoned".into()))? = Some(state);
        Ok(Pulled { records, position: Some(end.to_string().into_bytes()) })
    }

    fn write(records: Batch) -> Result<Outcomes, Error> {
        let state = state()?;
        let folder = state.parameter("folder");
        let failed = |error: std::io::Error| Error::Failed(error.to_string());
        let path = format!("{folder}/lines.txt");
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        let mut start = 0;
        for end in &records.payload.ends {
            let payload = &records.payload.bytes[start as usize..*end as usize];
            start = *end;
            if payload == SINK_TRAP {
                let burst = format!("{folder}/burst");
                let trap = match state.parameter("trap") {
                    "always" => true,
                    "once" => fs::metadata(&burst).is_err(),
                    _ => false,
                };
                if trap {
                    fs::write(&burst, "").map_err(failed)?;
                    panic!("the pump burst in the middle of {} records", records.count);
                }
            }
            file.write_all(payload).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
        }
        Ok(Outcomes { delivered: records.tokens, retry: Vec::new(), rejected: Vec::new() })
    }
}

naughty!(TrapsMidway);
