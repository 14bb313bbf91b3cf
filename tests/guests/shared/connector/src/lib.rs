//! What the naughty connectors have in common: the contract in Rust, and a connector that does nothing wrong.
//!
//! On the bare bindings and not on the SDK, because the SDK would keep a guest from most of what is tested here.

#![allow(clippy::all, missing_docs, unreachable_pub, reason = "generated")]

pub use wasip2;

wit_bindgen::generate!({
    path: "../../../../wit",
    world: "ferrule:connector/connector",
    with: {
        "wasi:io/error@0.2.12": wasip2::io::error,
        "wasi:io/poll@0.2.12": wasip2::io::poll,
        "wasi:io/streams@0.2.12": wasip2::io::streams,
    },
    generate_unused_types: true,
    pub_export_macro: true,
});

pub use exports::ferrule::connector::component::{Capability, Columns, Description, Direction, Problem, Schema};
pub use exports::ferrule::connector::consume::{Limits, Pulled};
pub use exports::ferrule::connector::lifecycle::{Configured, Opened, Session};
pub use ferrule::connector::types::{Batch, Column, Error, Outcomes};

/// A connector; what is not written does nothing, and does it well.
pub trait Naughty {
    fn describe() -> Description {
        description()
    }
    fn validate(_static_parameters: String, _config: String, _stream: String) -> Vec<Problem> {
        Vec::new()
    }
    fn open(_session: Session) -> Result<Opened, Error> {
        Ok(Opened { replayable: false, properties: Vec::new() })
    }
    fn configure(_config: String) -> Result<Configured, Error> {
        Ok(Configured::Applied)
    }
    fn close() -> Result<(), Error> {
        Ok(())
    }
    fn next(_limits: Limits) -> Result<Pulled, Error> {
        Ok(Pulled { records: empty(), position: None })
    }
    fn settle(_tokens: Vec<u64>) -> Result<(), Error> {
        Ok(())
    }
    fn write(records: Batch) -> Result<Outcomes, Error> {
        Ok(Outcomes { delivered: records.tokens, retry: Vec::new(), rejected: Vec::new() })
    }
    fn idle(_max_wait_ms: u32) -> Result<Outcomes, Error> {
        Ok(Outcomes { delivered: Vec::new(), retry: Vec::new(), rejected: Vec::new() })
    }
}

/// A description without fault that asks for everything.
pub fn description() -> Description {
    let asks =
        |kind: &str, target: &str| Capability { kind: kind.into(), target: target.into(), reason: "a test".into() };
    Description {
        name: "naughty".into(),
        version: "1.0.0".into(),
        summary: "A connector of the tests".into(),
        directions: vec![Direction::Ingress, Direction::Egress],
        schemas: Vec::new(),
        capabilities: vec![
            asks("tcp", "*:*"),
            asks("http", "*:*"),
            asks("udp", "*:*"),
            asks("listen", "127.0.0.1:*"),
            asks("read", "/"),
        ],
        reads: Columns::all(),
        routes: Vec::new(),
        properties: Vec::new(),
    }
}

pub fn absent() -> Column {
    Column { bytes: Vec::new(), ends: Vec::new() }
}

pub fn empty() -> Batch {
    batch(&[])
}

/// Records with these contents and tokens from 1.
pub fn batch(contents: &[&[u8]]) -> Batch {
    let mut payload = absent();
    for content in contents {
        payload.bytes.extend_from_slice(content);
        payload.ends.push(payload.bytes.len() as u32);
    }
    Batch {
        count: contents.len() as u32,
        payload,
        key: absent(),
        headers: absent(),
        timestamps: Vec::new(),
        tokens: (1..=contents.len() as u64).collect(),
        upstream_ids: absent(),
        record_ids: absent(),
        attempts: Vec::new(),
        extra: Vec::new(),
    }
}

/// Splits the parameters of a test, `host:port` as a JSON string, into host and port.
pub fn host_and_port(parameters: &str) -> (String, u16) {
    let text = parameters.trim_matches('"');
    match text.rsplit_once(':') {
        Some((host, port)) => (host.to_owned(), port.parse().unwrap_or(0)),
        None => (text.to_owned(), 0),
    }
}

/// Makes a [`Naughty`] type into what the bindings export.
pub struct Adapter<T>(std::marker::PhantomData<T>);

impl<T: Naughty> exports::ferrule::connector::component::Guest for Adapter<T> {
    fn describe() -> Description {
        T::describe()
    }
    fn validate(static_parameters: String, config: String, stream: String) -> Vec<Problem> {
        T::validate(static_parameters, config, stream)
    }
}

impl<T: Naughty> exports::ferrule::connector::lifecycle::Guest for Adapter<T> {
    fn open(session: Session) -> Result<Opened, Error> {
        T::open(session)
    }
    fn configure(config: String) -> Result<Configured, Error> {
        T::configure(config)
    }
    fn close() -> Result<(), Error> {
        T::close()
    }
}

impl<T: Naughty> exports::ferrule::connector::consume::Guest for Adapter<T> {
    fn next(limits: Limits) -> Result<Pulled, Error> {
        T::next(limits)
    }
    fn settle(tokens: Vec<u64>) -> Result<(), Error> {
        T::settle(tokens)
    }
}

impl<T: Naughty> exports::ferrule::connector::produce::Guest for Adapter<T> {
    fn write(records: Batch) -> Result<Outcomes, Error> {
        T::write(records)
    }
    fn idle(max_wait_ms: u32) -> Result<Outcomes, Error> {
        T::idle(max_wait_ms)
    }
}

/// Exports a [`Naughty`] type as the component.
#[macro_export]
macro_rules! naughty {
    ($guest:ty) => {
        type Exported = $crate::Adapter<$guest>;
        $crate::export!(Exported with_types_in $crate);
    };
}
