//! What the functions of the tests have in common: the contract in Rust, and an export macro.

#![allow(clippy::all, missing_docs, unreachable_pub, reason = "generated")]

wit_bindgen::generate!({
    path: "../../../../wit",
    world: "ferrule:connector/function",
    with: {
        "wasi:io/error@0.2.12": wasip2::io::error,
        "wasi:io/poll@0.2.12": wasip2::io::poll,
        "wasi:io/streams@0.2.12": wasip2::io::streams,
    },
    generate_unused_types: true,
    pub_export_macro: true,
});

pub use exports::ferrule::connector::component::{Columns, Description, Direction, Problem};
pub use exports::ferrule::connector::lifecycle::{Configured, Opened, Session};
pub use ferrule::connector::types::{Batch, Column, Error, Transformed};

/// A function of the tests.
pub trait Naughty {
    fn reads() -> Columns {
        Columns::all()
    }
    fn open(_session: Session) -> Result<Opened, Error> {
        Ok(Opened { replayable: false, properties: Vec::new() })
    }
    fn apply(records: Batch) -> Result<Transformed, Error>;
}

/// Every input as it is.
pub fn unchanged(count: u32) -> Transformed {
    let absent = || Column { bytes: Vec::new(), ends: Vec::new() };
    Transformed {
        origins: (0..count).collect(),
        also: Vec::new(),
        changes: Vec::new(),
        payload: absent(),
        key: absent(),
        headers: absent(),
        timestamps: Vec::new(),
        routes: Vec::new(),
        rejected: Vec::new(),
        extra: Vec::new(),
    }
}

pub struct Adapter<T>(std::marker::PhantomData<T>);

impl<T: Naughty> exports::ferrule::connector::component::Guest for Adapter<T> {
    fn describe() -> Description {
        Description {
            name: "naughty-function".into(),
            version: "1.0.0".into(),
            summary: "A function of the tests".into(),
            directions: vec![Direction::Transform],
            schemas: Vec::new(),
            capabilities: Vec::new(),
            reads: T::reads(),
            routes: Vec::new(),
            properties: Vec::new(),
        }
    }
    fn validate(_static_parameters: String, _config: String, _stream: String) -> Vec<Problem> {
        Vec::new()
    }
}

impl<T: Naughty> exports::ferrule::connector::lifecycle::Guest for Adapter<T> {
    fn open(session: Session) -> Result<Opened, Error> {
        T::open(session)
    }
    fn configure(_config: String) -> Result<Configured, Error> {
        Ok(Configured::Applied)
    }
    fn close() -> Result<(), Error> {
        Ok(())
    }
}

impl<T: Naughty> exports::ferrule::connector::transform::Guest for Adapter<T> {
    fn apply(records: Batch) -> Result<Transformed, Error> {
        T::apply(records)
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
