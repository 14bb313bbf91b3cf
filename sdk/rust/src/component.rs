//! From the traits to the exports of a component; used by [`export!`](crate::export) alone.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::thread::LocalKey;

use crate::about::{self, Package};
use crate::bindings::exports::ferrule::connector::component::{self, Description, Direction};
use crate::bindings::exports::ferrule::connector::consume::{self, Limits, Pulled};
use crate::bindings::exports::ferrule::connector::lifecycle::{self, Configured, Opened};
use crate::bindings::exports::ferrule::connector::{produce, transform};
use crate::bindings::ferrule::connector::types;
use crate::error::Error;
use crate::session::{self, Problem};
use crate::{Function, Sink, Source, function, logging, sink, source};

/// Where the one session of an instance is kept.
pub type Cell<T> = LocalKey<RefCell<Option<T>>>;

/// The guest's crate.
pub trait Home: 'static {
    /// What its Cargo.toml says.
    const PACKAGE: Package;
}

/// A crate with a source.
pub trait SourceHome: Home {
    /// The source.
    type Source: Source;
    /// Where it is kept.
    fn cell() -> &'static Cell<source::Running<Self::Source>>;
}

/// A crate with a sink.
pub trait SinkHome: Home {
    /// The sink.
    type Sink: Sink;
    /// Where it is kept.
    fn cell() -> &'static Cell<sink::Running<Self::Sink>>;
}

/// A crate with a function.
pub trait FunctionHome: Home {
    /// The function.
    type Function: Function;
    /// Where it is kept.
    fn cell() -> &'static Cell<function::Running<Self::Function>>;
}

macro_rules! components {
    ($($(#[$doc:meta])* $name:ident),*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub struct $name<H>(PhantomData<H>);
        )*
    };
}

components! {
    /// Exports the world `source`.
    SourceComponent,
    /// Exports the world `sink`.
    SinkComponent,
    /// Exports the world `connector`.
    ConnectorComponent,
    /// Exports the world `function`.
    FunctionComponent
}

fn open_in<T, R>(cell: &'static Cell<T>, call: impl FnOnce(&mut T) -> Result<R, Error>) -> Result<R, types::Error> {
    cell.with_borrow_mut(|held| match held {
        Some(running) => call(running).map_err(Into::into),
        None => Err(types::Error::Failed("the session is not open".to_owned())),
    })
}

fn close_in<T>(cell: &'static Cell<T>, goodbye: impl FnOnce(&mut T) -> Result<(), Error>) -> Result<(), types::Error> {
    match cell.take() {
        Some(mut running) => Ok(goodbye(&mut running)?),
        None => Ok(()),
    }
}

fn opened(replayable: bool) -> Opened {
    Opened { replayable, properties: Vec::new() }
}

fn config<T: session::Parameters>(json: &str) -> Result<T, Error> {
    Ok(session::parse("config", json)?)
}

fn into_wit(problems: Vec<Problem>) -> Vec<component::Problem> {
    problems.into_iter().map(Into::into).collect()
}

// One set of calls for each trait, shared by the worlds.

type SourceTypes<H> = <H as SourceHome>::Source;

fn source_open<H: SourceHome>(session: lifecycle::Session) -> Result<Opened, types::Error> {
    logging::install();
    let source = SourceTypes::<H>::open(session::typed(session)?)?;
    let replayable = source.replayable();
    H::cell().set(Some(source::Running::new(source)));
    Ok(opened(replayable))
}

fn source_validate<H: SourceHome>(texts: [&str; 3]) -> Vec<Problem> {
    session::checked(texts, SourceTypes::<H>::validate)
}

fn source_configure<H: SourceHome>(json: &str) -> Result<Configured, types::Error> {
    open_in(H::cell(), |running| running.source.configure(config(json)?))
}

fn source_close<H: SourceHome>() -> Result<(), types::Error> {
    close_in(H::cell(), |running| running.source.close())
}

fn source_next<H: SourceHome>(limits: Limits) -> Result<Pulled, types::Error> {
    open_in(H::cell(), |running| running.next(limits))
}

fn source_settle<H: SourceHome>(tokens: &[u64]) -> Result<(), types::Error> {
    open_in(H::cell(), |running| running.source.settle(tokens))
}

type SinkTypes<H> = <H as SinkHome>::Sink;

fn sink_open<H: SinkHome>(session: lifecycle::Session) -> Result<Opened, types::Error> {
    logging::install();
    let sink = SinkTypes::<H>::open(session::typed(session)?)?;
    H::cell().set(Some(sink::Running::new(sink)));
    Ok(opened(false))
}

fn sink_validate<H: SinkHome>(texts: [&str; 3]) -> Vec<Problem> {
    session::checked(texts, SinkTypes::<H>::validate)
}

fn sink_configure<H: SinkHome>(json: &str) -> Result<Configured, types::Error> {
    open_in(H::cell(), |running| running.sink.configure(config(json)?))
}

fn sink_close<H: SinkHome>() -> Result<(), types::Error> {
    close_in(H::cell(), |running| running.sink.close())
}

fn sink_write<H: SinkHome>(batch: types::Batch) -> Result<types::Outcomes, types::Error> {
    open_in(H::cell(), |running| running.write(batch))
}

fn sink_idle<H: SinkHome>(max_wait_ms: u32) -> Result<types::Outcomes, types::Error> {
    open_in(H::cell(), |running| running.idle(max_wait_ms))
}

impl<H: SourceHome> component::Guest for SourceComponent<H> {
    fn describe() -> Description {
        let schemas = vec![
            ("static", about::schema::<<SourceTypes<H> as Source>::Static>().to_string()),
            ("config", about::schema::<<SourceTypes<H> as Source>::Config>().to_string()),
            ("stream", about::schema::<<SourceTypes<H> as Source>::Parameters>().to_string()),
        ];
        about::describe(H::PACKAGE, SourceTypes::<H>::about(), vec![Direction::Ingress], schemas)
    }

    fn validate(fixed: String, config: String, stream: String) -> Vec<component::Problem> {
        into_wit(source_validate::<H>([&fixed, &config, &stream]))
    }
}

impl<H: SourceHome> lifecycle::Guest for SourceComponent<H> {
    fn open(session: lifecycle::Session) -> Result<Opened, types::Error> {
        source_open::<H>(session)
    }

    fn configure(config: String) -> Result<Configured, types::Error> {
        source_configure::<H>(&config)
    }

    fn close() -> Result<(), types::Error> {
        source_close::<H>()
    }
}

impl<H: SourceHome> consume::Guest for SourceComponent<H> {
    fn next(limits: Limits) -> Result<Pulled, types::Error> {
        source_next::<H>(limits)
    }

    fn settle(tokens: Vec<u64>) -> Result<(), types::Error> {
        source_settle::<H>(&tokens)
    }
}

impl<H: SinkHome> component::Guest for SinkComponent<H> {
    fn describe() -> Description {
        let schemas = vec![
            ("static", about::schema::<<SinkTypes<H> as Sink>::Static>().to_string()),
            ("config", about::schema::<<SinkTypes<H> as Sink>::Config>().to_string()),
            ("stream", about::schema::<<SinkTypes<H> as Sink>::Parameters>().to_string()),
        ];
        about::describe(H::PACKAGE, SinkTypes::<H>::about(), vec![Direction::Egress], schemas)
    }

    fn validate(fixed: String, config: String, stream: String) -> Vec<component::Problem> {
        into_wit(sink_validate::<H>([&fixed, &config, &stream]))
    }
}

impl<H: SinkHome> lifecycle::Guest for SinkComponent<H> {
    fn open(session: lifecycle::Session) -> Result<Opened, types::Error> {
        sink_open::<H>(session)
    }

    fn configure(config: String) -> Result<Configured, types::Error> {
        sink_configure::<H>(&config)
    }

    fn close() -> Result<(), types::Error> {
        sink_close::<H>()
    }
}

impl<H: SinkHome> produce::Guest for SinkComponent<H> {
    fn write(records: types::Batch) -> Result<types::Outcomes, types::Error> {
        sink_write::<H>(records)
    }

    fn idle(max_wait_ms: u32) -> Result<types::Outcomes, types::Error> {
        sink_idle::<H>(max_wait_ms)
    }
}

impl<H: SourceHome + SinkHome> component::Guest for ConnectorComponent<H> {
    fn describe() -> Description {
        type Of<T> = <T as SourceHome>::Source;
        let schemas = vec![
            ("static", about::either_schema::<<Of<H> as Source>::Static, <SinkTypes<H> as Sink>::Static>()),
            ("config", about::either_schema::<<Of<H> as Source>::Config, <SinkTypes<H> as Sink>::Config>()),
            ("stream", about::either_schema::<<Of<H> as Source>::Parameters, <SinkTypes<H> as Sink>::Parameters>()),
        ];
        let about = Of::<H>::about().and(SinkTypes::<H>::about());
        about::describe(H::PACKAGE, about, vec![Direction::Ingress, Direction::Egress], schemas)
    }

    /// The direction is not known here, so parameters are wrong only if they suit neither source nor sink.
    fn validate(fixed: String, config: String, stream: String) -> Vec<component::Problem> {
        let texts = [&*fixed, &*config, &*stream];
        let source = source_validate::<H>(texts);
        if source.is_empty() {
            return Vec::new();
        }
        let sink = sink_validate::<H>(texts);
        into_wit(if sink.len() < source.len() { sink } else { source })
    }
}

impl<H: SourceHome + SinkHome> lifecycle::Guest for ConnectorComponent<H> {
    fn open(session: lifecycle::Session) -> Result<Opened, types::Error> {
        match session.direction {
            Direction::Ingress => source_open::<H>(session),
            Direction::Egress => sink_open::<H>(session),
            Direction::Transform => Err(types::Error::Failed("a connector does not transform".to_owned())),
        }
    }

    fn configure(config: String) -> Result<Configured, types::Error> {
        if <H as SourceHome>::cell().with_borrow(Option::is_some) {
            source_configure::<H>(&config)
        } else {
            sink_configure::<H>(&config)
        }
    }

    fn close() -> Result<(), types::Error> {
        source_close::<H>().and(sink_close::<H>())
    }
}

impl<H: SourceHome + SinkHome> consume::Guest for ConnectorComponent<H> {
    fn next(limits: Limits) -> Result<Pulled, types::Error> {
        source_next::<H>(limits)
    }

    fn settle(tokens: Vec<u64>) -> Result<(), types::Error> {
        source_settle::<H>(&tokens)
    }
}

impl<H: SourceHome + SinkHome> produce::Guest for ConnectorComponent<H> {
    fn write(records: types::Batch) -> Result<types::Outcomes, types::Error> {
        sink_write::<H>(records)
    }

    fn idle(max_wait_ms: u32) -> Result<types::Outcomes, types::Error> {
        sink_idle::<H>(max_wait_ms)
    }
}

impl<H: FunctionHome> component::Guest for FunctionComponent<H> {
    fn describe() -> Description {
        let nothing = about::schema::<session::NoParameters>().to_string();
        let schemas = vec![
            ("static", nothing.clone()),
            ("config", nothing),
            ("stream", about::schema::<<H::Function as Function>::Arguments>().to_string()),
        ];
        about::describe(H::PACKAGE, H::Function::about(), vec![Direction::Transform], schemas)
    }

    fn validate(fixed: String, config: String, stream: String) -> Vec<component::Problem> {
        let check =
            |_: &session::NoParameters, _: &session::NoParameters, arguments: &_| H::Function::validate(arguments);
        into_wit(session::checked([&fixed, &config, &stream], check))
    }
}

impl<H: FunctionHome> lifecycle::Guest for FunctionComponent<H> {
    fn open(session: lifecycle::Session) -> Result<Opened, types::Error> {
        logging::install();
        let function = H::Function::open(session::typed(session)?)?;
        H::cell().set(Some(function::Running { function }));
        Ok(opened(false))
    }

    fn configure(_: String) -> Result<Configured, types::Error> {
        open_in(H::cell(), |running| Ok(running.configure()))
    }

    fn close() -> Result<(), types::Error> {
        close_in(H::cell(), |running| running.function.close())
    }
}

impl<H: FunctionHome> transform::Guest for FunctionComponent<H> {
    fn apply(records: types::Batch) -> Result<types::Transformed, types::Error> {
        open_in(H::cell(), |running| running.apply(records))
    }
}
