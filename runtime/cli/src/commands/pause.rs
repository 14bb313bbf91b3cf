//! `ferrule pause`: holds streams or pipelines back. Also what `resume` and `drain` share with it.

use clap::Args;
use ferrule_api::Platform;
use ferrule_api::report::Action;
use ferrule_api::request::{Control, ControlAction};
use ferrule_model::Kind;

use super::noun::{self, Scope};
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::output::Format;
use crate::views;

/// Which streams and pipelines are meant.
#[derive(Debug, Args)]
pub(crate) struct Targets {
    /// Names of streams or pipelines; a first word `stream` or `pipeline`, or stream/NAME, says which kind is meant.
    #[arg(required = true)]
    names: Vec<String>,
    /// The instance that the streams belong to.
    #[arg(long, short = 'i', value_name = "NAME")]
    instance: Option<String>,
    #[command(flatten)]
    scope: Scope,
}

impl Targets {
    /// Does it, and shows what became of each.
    pub(crate) async fn control(self, context: &Context, action: ControlAction) -> Outcome {
        let (kind, names) = split_kind(self.names)?;
        let client = context.client().await?;
        let (kind, names) = match &self.instance {
            Some(instance) => {
                let uids = noun::uids_in_instance(&client, Kind::Stream, &names, &self.scope, instance).await?;
                (Some(Kind::Stream), uids)
            }
            None => (kind, names),
        };
        let word = match action {
            ControlAction::Hold => "paused",
            ControlAction::Resume => "resumed",
            ControlAction::Drain { .. } => "drained",
        };
        let changed = client.control(Control { action, kind, names, namespace: self.scope.namespace() }).await?;
        let failed = changed.iter().any(|object| object.action == Action::Failed);
        if failed || context.output.format != Format::Table {
            return views::applied(&context.output, &changed, &[], false);
        }
        for object in &changed {
            context.output.line(format!("{} {} {word}", object.kind.nouns()[0], object.name))?;
        }
        Ok(())
    }
}

/// The kind that the first word or a prefix names, and the names. A name alone may be either kind's.
fn split_kind(mut names: Vec<String>) -> Result<(Option<Kind>, Vec<String>), Failure> {
    let movable = |kind: Option<Kind>| kind.filter(|k| matches!(k, Kind::Stream | Kind::Pipeline));
    if names.len() > 1
        && let Some(kind) = movable(names.first().and_then(|word| Kind::parse(word)))
    {
        names.remove(0);
        return Ok((Some(kind), names));
    }
    let mut found = None;
    for name in &mut names {
        let Some((prefix, rest)) = name.split_once('/') else { continue };
        let Some(kind) = movable(Kind::parse(prefix)) else {
            return Err(Failure::usage(format!("`{name}`: expected stream/NAME or pipeline/NAME")));
        };
        if found.is_some_and(|other| other != kind) {
            return Err(Failure::usage("streams and pipelines cannot be named in one command"));
        }
        found = Some(kind);
        *name = rest.to_owned();
    }
    Ok((found, names))
}

/// Holds streams or pipelines back: connections stay alive, and nothing flows. It stays so over restarts of the server.
#[derive(Debug, Args)]
#[command(after_help = "Example: ferrule pause pipeline/readings")]
pub(crate) struct Pause {
    #[command(flatten)]
    targets: Targets,
}

impl Pause {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        self.targets.control(context, ControlAction::Hold).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(words: &[&str]) -> (Option<Kind>, Vec<String>) {
        split_kind(words.iter().map(|w| (*w).to_owned()).collect()).unwrap()
    }

    #[test]
    fn the_kind_may_be_a_word_or_a_prefix_or_missing() {
        assert_eq!(split(&["pipeline", "a", "b"]), (Some(Kind::Pipeline), vec!["a".into(), "b".into()]));
        assert_eq!(split(&["stream/a"]), (Some(Kind::Stream), vec!["a".into()]));
        assert_eq!(split(&["stream"]), (None, vec!["stream".into()]));
        assert_eq!(split(&["a", "b"]), (None, vec!["a".into(), "b".into()]));
        assert!(split_kind(vec!["stream/a".into(), "pipeline/b".into()]).is_err());
        assert!(split_kind(vec!["class/a".into()]).is_err());
    }
}
