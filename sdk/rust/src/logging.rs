//! Logging to the host: `log` is connected when a session opens, `tracing` too with the feature of that name.

#[cfg(target_family = "wasm")]
use crate::bindings::ferrule::connector::logging as host;

/// Connects `log` (and `tracing`) and the panic message to the host; called when a session opens.
pub(crate) fn install() {
    #[cfg(target_family = "wasm")]
    {
        use std::sync::Once;
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            std::panic::set_hook(Box::new(|info| {
                host::log(host::Level::Error, "panic", &info.to_string(), &[]);
            }));
            // Fails only where the guest has installed its own, which then stays.
            let _ = log::set_logger(&backend::HostLog);
            #[cfg(feature = "tracing")]
            let _ = tracing::subscriber::set_global_default(spans::HostTrace::default());
        });
        log::set_max_level(backend::max_level());
    }
}

#[cfg(target_family = "wasm")]
mod backend {
    use log::kv::{self, VisitSource};
    use log::{Level, LevelFilter, Log, Metadata, Record};

    use super::host;

    pub(super) struct HostLog;

    fn level(level: Level) -> host::Level {
        match level {
            Level::Error => host::Level::Error,
            Level::Warn => host::Level::Warn,
            Level::Info => host::Level::Info,
            Level::Debug => host::Level::Debug,
            Level::Trace => host::Level::Trace,
        }
    }

    /// The least severe level that the host keeps, so that lines below it are not even made.
    pub(super) fn max_level() -> LevelFilter {
        [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error]
            .into_iter()
            .find(|candidate| host::enabled(level(*candidate)))
            .map_or(LevelFilter::Off, |level| level.to_level_filter())
    }

    #[derive(Default)]
    struct Fields(Vec<(String, String)>);

    impl<'kvs> VisitSource<'kvs> for Fields {
        fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
            self.0.push((key.to_string(), value.to_string()));
            Ok(())
        }
    }

    impl Log for HostLog {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.level() <= log::max_level()
        }

        fn log(&self, record: &Record<'_>) {
            if !self.enabled(record.metadata()) {
                return;
            }
            let mut fields = Fields::default();
            let _ = record.key_values().visit(&mut fields);
            host::log(level(record.level()), record.target(), &record.args().to_string(), &fields.0);
        }

        fn flush(&self) {}
    }
}

#[cfg(all(target_family = "wasm", feature = "tracing"))]
mod spans {
    use std::fmt;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::host;

    /// Sends events to the host. Spans have names but leave no trace: a guest's calls are short.
    #[derive(Default)]
    pub(super) struct HostTrace {
        spans: AtomicU64,
    }

    fn level(level: Level) -> host::Level {
        match level {
            Level::ERROR => host::Level::Error,
            Level::WARN => host::Level::Warn,
            Level::INFO => host::Level::Info,
            Level::DEBUG => host::Level::Debug,
            Level::TRACE => host::Level::Trace,
        }
    }

    #[derive(Default)]
    struct Fields {
        message: String,
        others: Vec<(String, String)>,
    }

    impl Visit for Fields {
        fn record_str(&mut self, field: &Field, value: &str) {
            self.record_debug(field, &format_args!("{value}"));
        }

        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            if field.name() == "message" {
                self.message = format!("{value:?}");
            } else {
                self.others.push((field.name().to_owned(), format!("{value:?}")));
            }
        }
    }

    impl Subscriber for HostTrace {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.is_span() || host::enabled(level(*metadata.level()))
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            host::log(level(*event.metadata().level()), event.metadata().target(), &fields.message, &fields.others);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }
}
