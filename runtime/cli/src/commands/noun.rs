//! The nouns of the command line, and the options that say which objects are meant.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use ferrule_api::report::StoredObject;
use ferrule_api::request::Query;
use ferrule_api::{Client, Platform};
use ferrule_model::error::suggestion;
use ferrule_model::{Code, Kind};

use crate::compiled;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::views;

/// Reads a noun: a kind's name, plural or short form, or the name that the `kps` command line has for it.
pub(crate) fn parse_kind(text: &str) -> Result<Kind, String> {
    Kind::parse(text).ok_or_else(|| {
        if is_file(text) {
            return format!("a file is given with -f: -f {text}");
        }
        let nouns = Kind::ALL.into_iter().flat_map(|kind| kind.nouns().into_iter().chain(kind.kps_noun()));
        match suggestion(text, nouns) {
            Some(near) => format!("not a kind; did you mean `{near}`?"),
            None => {
                "not a kind; kinds are class, instance, stream, config, category, project, servicedomain, function, \
                     pipeline, grant, secret and component, their plurals, and the kps names such as connectorclass"
                    .to_owned()
            }
        }
    })
}

/// Whether a word in the place of a noun is a file of documents.
fn is_file(text: &str) -> bool {
    let path = Path::new(text);
    text == "-" || path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") || path.is_file()
}

/// `NOUN/NAME` or `NOUN`.
pub(crate) fn parse_kind_and_name(text: &str) -> Result<(Kind, Option<String>), String> {
    match text.split_once('/').filter(|_| !is_file(text)) {
        Some((kind, name)) if !name.is_empty() => Ok((parse_kind(kind)?, Some(name.to_owned()))),
        Some(_) => Err("a name is missing after the slash".to_owned()),
        None => Ok((parse_kind(text)?, None)),
    }
}

/// A further name, as it is, or as NOUN/NAME: where `first` was written so, or where no instance can be meant.
pub(crate) fn parse_further(kind: Kind, first: bool, text: &str) -> (Kind, String) {
    match text.split_once('/').and_then(|(word, name)| Some((Kind::parse(word)?, name))) {
        Some((other, name)) if !name.is_empty() && (first || (other == kind && !kind.is_in_instance())) => {
            (other, name.to_owned())
        }
        _ => (kind, text.to_owned()),
    }
}

/// Which project's objects are meant.
#[derive(Clone, Debug, Args)]
pub(crate) struct Scope {
    /// The project (namespace).
    #[arg(long, short = 'p', visible_alias = "namespace", visible_short_alias = 'n', value_name = "NAME")]
    pub(crate) project: Option<String>,
}

impl Scope {
    /// The namespace, if one was named.
    pub(crate) fn namespace(&self) -> Option<String> {
        self.project.clone()
    }
}

/// Where documents come from.
#[derive(Clone, Debug, Args)]
pub(crate) struct Files {
    /// A file, a folder, or - for standard input; may be given several times.
    #[arg(long = "file", short = 'f', value_name = "PATH", required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// The objects of a kind in a scope, those of one instance alone if `instance` names it.
pub(crate) async fn objects(
    client: &Client,
    kind: Option<Kind>,
    names: &[String],
    scope: &Scope,
    instance: Option<&str>,
    labels: BTreeMap<String, String>,
) -> Result<Vec<StoredObject>, Failure> {
    let query = Query { kind, names: names.to_vec(), namespace: scope.namespace(), labels };
    let mut found = client.get(query).await?;
    if let Some(wanted) = instance {
        // A reference is written as a name or, in documents of KPS, as an id.
        let instances =
            client.get(Query { kind: Some(Kind::Instance), namespace: scope.namespace(), ..Query::default() }).await?;
        let meant: Vec<&str> = instances
            .iter()
            .map(|i| &i.object.metadata)
            .filter(|m| m.name == wanted || m.uid.to_string() == wanted)
            .map(|m| m.name.as_str())
            .chain([wanted])
            .collect();
        let uids: Vec<String> = instances
            .iter()
            .filter(|i| i.object.metadata.name == wanted)
            .map(|i| i.object.metadata.uid.to_string())
            .collect();
        found.retain(|stored| {
            views::instance_of(&stored.object).is_some_and(|i| meant.contains(&i.as_str()) || uids.contains(&i))
        });
        // Streams may be there before their instance.
        let is_there = |i: &StoredObject| i.object.name() == wanted || i.object.uid().as_str() == wanted;
        if found.is_empty() && !instances.iter().any(is_there) {
            let names = instances.iter().map(|i| i.object.name());
            let help = match suggestion(wanted, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`ferrule get instances` shows what there is".to_owned(),
            };
            return Err(not_found(&format!("instance {wanted}")).with_help(help));
        }
    }
    Ok(found)
}

/// The uids of the named objects of one instance: names of streams are unique only there.
pub(crate) async fn uids_in_instance(
    client: &Client,
    kind: Kind,
    names: &[String],
    scope: &Scope,
    instance: &str,
) -> Result<Vec<String>, Failure> {
    let objects = objects(client, Some(kind), names, scope, Some(instance), BTreeMap::new()).await?;
    names
        .iter()
        .map(|name| {
            objects
                .iter()
                .map(|stored| &stored.object.metadata)
                .find(|m| m.name == *name || m.uid.to_string() == *name)
                .map(|m| m.uid.to_string())
                .ok_or_else(|| not_found(&format!("{kind} {name} of instance {instance}")))
        })
        .collect()
}

/// The failure of an object that is not there.
pub(crate) fn not_found(what: &str) -> Failure {
    Failure::new(Exit::NotFound, format!("there is no {what}")).with_code(Code::NotFound)
}

/// Checks and compiles the component in a file, whose bytes these are. The compiled form is kept in the user's cache.
pub(crate) async fn load_component(
    context: &Context,
    path: &Path,
    bytes: &[u8],
) -> Result<ferrule_testkit::Component, Failure> {
    let folder = context.surroundings.compiled.as_deref();
    let spinner = context.output.spinner(format!("loading {}", path.display()));
    let added = compiled::announce(&context.output, &spinner, folder, &[path.to_owned()]);
    let loaded = ferrule_testkit::load(bytes, folder).await;
    spinner.finish_and_clear();
    if let Some(folder) = folder.filter(|_| added) {
        compiled::trim(folder);
    }
    loaded.map_err(|error| {
        let failure = Failure::from(error);
        Failure { message: format!("{}: {}", path.display(), failure.message), ..failure }
    })
}

/// A component larger than this is refused by every host, so it is not read.
const LARGEST_COMPONENT: u64 = 128 << 20;

/// Reads a `.wasm` file.
pub(crate) fn read_component(path: &Path) -> Result<Vec<u8>, Failure> {
    let cannot = |error: std::io::Error| {
        let failure = Failure::from(error);
        Failure { message: format!("cannot read {}: {}", path.display(), failure.message), ..failure }
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|f| f.take(LARGEST_COMPONENT + 1).read_to_end(&mut bytes)).map_err(cannot)?;
    if bytes.len() as u64 > LARGEST_COMPONENT {
        let message = format!("{} is larger than {} MiB", path.display(), LARGEST_COMPONENT >> 20);
        return Err(Failure::new(Exit::Invalid, message)
            .with_code(Code::ComponentTooLarge)
            .with_help("build in release mode and strip debug information"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_noun_is_answered() {
        for (word, answer) in [
            ("streems", "did you mean `streams`?"),
            ("conectorclass", "did you mean `connectorclass`?"),
            ("hello.yaml", "-f hello.yaml"),
            ("./docs/hello.json", "-f ./docs/hello.json"),
            ("weather", "kinds are class"),
        ] {
            for error in [parse_kind(word).unwrap_err(), parse_kind_and_name(word).unwrap_err()] {
                assert!(error.contains(answer), "{word}: {error}");
            }
        }
    }

    #[test]
    fn further_names_may_have_their_noun() {
        let name = |kind, first, text| parse_further(kind, first, text);
        assert_eq!(name(Kind::Pipeline, true, "dp/halls"), (Kind::Pipeline, "halls".into()));
        assert_eq!(name(Kind::Pipeline, true, "cs/up"), (Kind::Stream, "up".into()));
        assert_eq!(name(Kind::Pipeline, false, "dp/halls"), (Kind::Pipeline, "halls".into()));
        assert_eq!(name(Kind::Stream, false, "edge/up"), (Kind::Stream, "edge/up".into()));
        assert_eq!(name(Kind::Stream, true, "hall/up"), (Kind::Stream, "hall/up".into()));
    }
}
