//! What streams and pipelines ask of the log, held against what it gives.

use ferrule_flow::plan::{Durability, Guarantees, StreamOptions, WhenFull};
use ferrule_model::Code;
use ferrule_model::connector::{self, LogDurability, LogSpec};
use serde_json::{Value, json};

use crate::finding::Problem;

/// The transports that keep records and give them again, for messages.
const LASTING: &str = "embedded, nats";
/// Those that give more than NATS does by itself.
const LASTING_LONGER: &str =
    "embedded, nats with `durable=fsync` in its address (where every nats-server has `sync_interval: always`)";
/// The transport that gives more where its operator says so.
const NATS: &str = "nats";

/// What the log of a runtime gives to a stream, for each durability that it may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOffer {
    name: String,
    of: [Given; 3],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Given {
    durable: Durability,
    replayable: bool,
}

const ALL: [Durability; 3] = [Durability::Process, Durability::System, Durability::Disk];

impl LogOffer {
    /// What a log of this name gives.
    pub fn new(name: impl Into<String>, guarantees: impl Fn(Durability) -> Guarantees) -> Self {
        let of = ALL.map(|durability| {
            let given = guarantees(durability);
            Given { durable: given.durable, replayable: given.replayable }
        });
        Self { name: name.into(), of }
    }

    /// What the log is called: `memory`, `embedded` or `nats`.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn given(&self, durability: Durability) -> Given {
        let [process, system, disk] = self.of;
        match durability {
            Durability::Process => process,
            Durability::System => system,
            Durability::Disk => disk,
        }
    }

    /// What a stream gets that does not say what it wants.
    fn best(&self) -> Durability {
        self.given(Durability::Disk).durable
    }

    /// How a stream is kept whose document says this.
    pub(crate) fn options(&self, asked: Option<LogSpec>) -> Result<StreamOptions, Problem> {
        let asked = asked.unwrap_or_default();
        let durability = match asked.durability {
            None => self.best(),
            Some(LogDurability::Memory) => Durability::Process,
            Some(LogDurability::Os) => Durability::System,
            Some(LogDurability::Fsync) => Durability::Disk,
        };
        if self.given(durability).durable < durability {
            let message =
                format!("log.durability: {} is more than the transport `{}` gives", word(durability), self.name);
            return Err(self.weak(message));
        }
        let mut options = StreamOptions::new(durability);
        // On disk the bound is one of bytes, unless somebody wants another.
        if let Some(bytes) = asked.max_bytes {
            options.bounds.bytes = bytes.0;
        }
        if let Some(records) = asked.max_records {
            options.bounds.records = records;
        }
        options.when_full = match asked.when_full {
            connector::WhenFull::Block => WhenFull::Block,
            connector::WhenFull::DropOldest => WhenFull::DropOldest,
            connector::WhenFull::DropNewest => WhenFull::DropNewest,
        };
        let keep = asked.keep.unwrap_or_default();
        if let Some(bytes) = keep.bytes {
            options.keep.bytes = bytes.0;
        }
        if let Some(age) = keep.age {
            options.keep.age = age.0;
        }
        options.keep.even_unread = keep.even_unread;
        Ok(options)
    }

    fn weak(&self, message: String) -> Problem {
        let would_do = if self.name == NATS { LASTING_LONGER } else { LASTING };
        Problem::new("LogTooWeak", Code::LogTooWeak, format!("{message}; transports that would do: {would_do}"))
    }

    /// Whether the log keeps records of a stream that no pipeline reads.
    pub(crate) fn lasts(&self, options: &StreamOptions) -> bool {
        self.given(options.durability).durable > Durability::Process
    }

    /// Whether a pipeline gets what it asks for from a stream that it reads. `stream` is the stream's name.
    pub(crate) fn allows(
        &self,
        stream: &str,
        options: &StreamOptions,
        start: connector::StartAt,
        deduplicate: Option<std::time::Duration>,
    ) -> Result<(), Problem> {
        let asked = match (start, deduplicate) {
            (_, Some(_)) => "deduplicate",
            (connector::StartAt::Beginning, None) => "start: beginning",
            (connector::StartAt::Latest, None) => return Ok(()),
        };
        if !self.given(options.durability).replayable {
            let message = if self.given(Durability::Disk).replayable {
                let message = format!(
                    "{asked}: source {stream} has `log.durability: memory`, and what was read from memory is gone; give it `fsync` or `os`"
                );
                return Err(Problem::new("LogTooWeak", Code::LogTooWeak, message));
            } else {
                format!("{asked}: the transport `{}` keeps nothing that was read", self.name)
            };
            return Err(self.weak(message));
        }
        match deduplicate {
            Some(window) if window > options.keep.age => {
                let message = format!(
                    "deduplicate.window: {} s is longer than source {stream} keeps records ({} s): what came before could not be known again after a restart; shorten it, or lengthen the stream's `log.keep.age`",
                    window.as_secs(),
                    options.keep.age.as_secs(),
                );
                Err(Problem::new("LogTooWeak", Code::LogTooWeak, message))
            }
            _ => Ok(()),
        }
    }
}

impl Default for LogOffer {
    /// What a log on a disk gives: as much as is asked for, and again what lasts.
    fn default() -> Self {
        let given = |durable| Given { durable, replayable: durable > Durability::Process };
        Self { name: "embedded".to_owned(), of: ALL.map(given) }
    }
}

/// As documents write it.
pub fn word(durability: Durability) -> &'static str {
    match durability {
        Durability::Process => "memory",
        Durability::System => "os",
        Durability::Disk => "fsync",
    }
}

/// The options as a value, for a revision.
pub(crate) fn value(options: &StreamOptions) -> Value {
    let when_full = match options.when_full {
        WhenFull::Block => "block",
        WhenFull::DropOldest => "drop-oldest",
        WhenFull::DropNewest => "drop-newest",
    };
    json!({
        "durability": word(options.durability), "records": options.bounds.records, "bytes": options.bounds.bytes,
        "whenFull": when_full, "keepBytes": options.keep.bytes, "keepSeconds": options.keep.age.as_secs(),
        "evenUnread": options.keep.even_unread,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ferrule_flow::plan::{Bounds, Keep};
    use ferrule_model::connector::{KeepSpec, StartAt};
    use ferrule_model::quantity::{Size, Span};

    use super::*;

    fn memory() -> LogOffer {
        LogOffer { name: "memory".into(), of: [Given { durable: Durability::Process, replayable: false }; 3] }
    }

    fn asks(durability: LogDurability) -> Option<LogSpec> {
        Some(LogSpec { durability: Some(durability), ..LogSpec::default() })
    }

    #[test]
    fn a_stream_that_says_nothing_gets_the_most_that_the_log_gives() {
        assert_eq!(LogOffer::default().options(None), Ok(StreamOptions::new(Durability::Disk)));
        assert_eq!(memory().options(None), Ok(StreamOptions::new(Durability::Process)));
    }

    #[test]
    fn what_a_stream_says_is_what_it_gets() {
        let keep = KeepSpec { bytes: Some(Size(7)), age: Some(Span(Duration::from_secs(60))), even_unread: true };
        let asked = LogSpec {
            durability: Some(LogDurability::Os),
            max_bytes: Some(Size(5)),
            max_records: Some(6),
            when_full: connector::WhenFull::DropNewest,
            keep: Some(keep),
        };
        let options = LogOffer::default().options(Some(asked)).unwrap();
        assert_eq!(options.durability, Durability::System);
        assert_eq!(options.bounds, Bounds { records: 6, bytes: 5 });
        assert_eq!(options.when_full, WhenFull::DropNewest);
        assert_eq!(options.keep, Keep { bytes: 7, age: Duration::from_secs(60), even_unread: true });
    }

    #[test]
    fn more_than_the_log_gives_is_refused_with_what_would_do() {
        for durability in [LogDurability::Fsync, LogDurability::Os] {
            let problem = memory().options(asks(durability)).unwrap_err();
            assert_eq!(problem.code, Code::LogTooWeak);
            for word in ["log.durability", "`memory`", "embedded, nats"] {
                assert!(problem.message.contains(word), "{problem}");
            }
            assert!(LogOffer::default().options(asks(durability)).is_ok());
        }
        let nats = [Durability::Process, Durability::System, Durability::System];
        let of = nats.map(|durable| Given { durable, replayable: durable > Durability::Process });
        let nats = LogOffer { name: "nats".into(), of };
        assert_eq!(nats.options(None), Ok(StreamOptions::new(Durability::System)));
        assert!(nats.options(asks(LogDurability::Os)).is_ok());
        let problem = nats.options(asks(LogDurability::Fsync)).unwrap_err();
        assert!(problem.message.contains("`nats`") && problem.message.contains("durable=fsync"), "{problem}");
        let options = memory().options(None).unwrap();
        let hour = Some(Duration::from_secs(3600));
        for (start, unique, word) in
            [(StartAt::Beginning, None, "start: beginning"), (StartAt::Latest, hour, "deduplicate")]
        {
            let problem = memory().allows("s", &options, start, unique).unwrap_err();
            assert!(problem.message.contains(word) && problem.message.contains("embedded, nats"), "{problem}");
        }
        assert_eq!(memory().allows("s", &options, StartAt::Latest, None), Ok(()));
        // The log would do; it is the stream that asks for too little.
        let options = LogOffer::default().options(asks(LogDurability::Memory)).unwrap();
        let problem = LogOffer::default().allows("s", &options, StartAt::Latest, hour).unwrap_err();
        assert!(
            problem.message.contains("log.durability: memory") && !problem.message.contains("transport"),
            "{problem}"
        );
    }

    #[test]
    fn ids_cannot_be_known_for_longer_than_records_are_kept() {
        let (offer, mut options) = (LogOffer::default(), StreamOptions::new(Durability::Disk));
        options.keep.age = Duration::from_secs(60);
        let allows = |seconds| offer.allows("s", &options, StartAt::Latest, Some(Duration::from_secs(seconds)));
        assert_eq!(allows(60), Ok(()));
        let problem = allows(61).unwrap_err();
        assert!(
            problem.message.contains("deduplicate.window") && problem.message.contains("log.keep.age"),
            "{problem}"
        );
    }
}
