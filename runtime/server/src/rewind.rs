//! A pipeline that is to read its streams again from somewhere else.

use ferrule_api::Error;
use ferrule_api::report::ReadFrom;
use ferrule_api::request::{Rewind, RewindTo};
use ferrule_flow::{FlowError, LogError};
use ferrule_model::{Code, Diagnostic, Kind};

use crate::platform::Inner;
use crate::reports;

pub(crate) async fn rewind(inner: &Inner, rewind: Rewind) -> Result<Vec<ReadFrom>, Error> {
    let world = inner.world().await?;
    let pipeline = crate::delete::find(&world, Kind::Pipeline, &rewind.pipeline, rewind.namespace.as_deref())
        .map_err(|problem| Error::refused(*problem))?;
    let to = match rewind.to {
        RewindTo::Beginning => ferrule_flow::RewindTo::Beginning,
        RewindTo::Time(ms) => ferrule_flow::RewindTo::Time(ms),
        RewindTo::Offset(offset) => ferrule_flow::RewindTo::Offset(offset),
    };
    let name = |uid: &ferrule_model::Uid| match world.object(Kind::Stream, uid) {
        Some(stream) => world.unique_name(stream),
        None => uid.to_string(),
    };
    match inner.flow.rewind(pipeline.uid(), to).await {
        Ok(streams) => Ok(streams.into_iter().map(|(uid, offset)| ReadFrom { stream: name(&uid), offset }).collect()),
        Err(error) => {
            let title = pipeline.title();
            let diagnostic = match &error {
                FlowError::NotReplayable { log, stream } => Diagnostic::new(
                    Code::NotRepeatable,
                    format!("{title} cannot be rewound: the log `{log}` keeps records of stream {} only until they are read", name(stream)),
                )
                .help("records that are to be read again must be in a log that lasts: see the server's `transport`"),
                FlowError::Unknown(_) => reports::not_running(&pipeline),
                FlowError::Log(LogError::Unavailable(_)) => {
                    Diagnostic::new(Code::NotReady, format!("{title} is not rewound: {error}"))
                        .help("it goes on where it was; ask again when `ferrule status` shows no trouble of the log")
                }
                FlowError::Log(_) => Diagnostic::new(Code::BadValue, format!("{title} cannot be rewound: {error}")),
                _ => Diagnostic::new(Code::NotReady, format!("{title} cannot be rewound: {error}")),
            };
            Err(Error::refused(diagnostic))
        }
    }
}
