//! What a command is handed besides its arguments: where to write, where the server is, and the surroundings it may read.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::exit::Failure;
use crate::output::Output;

/// What the command line takes from its environment. Nothing else in this crate reads environment variables, except for
/// the explicit `${env:NAME}` form in documents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// `NO_COLOR` is set and not empty.
    pub(crate) no_color: bool,
    /// `FERRULE_SERVER`: the server to talk to.
    pub(crate) server: Option<String>,
    /// `FERRULE_TOKEN_FILE`, `FERRULE_CACERT`, `FERRULE_CERT` and `FERRULE_KEY`: for a server over TLS.
    pub(crate) proofs: Proofs,
    /// The data folder of a server of this user: `FERRULE_DATA`, or `ferrule` in the place the system names for such data.
    pub(crate) data: Option<PathBuf>,
    /// Where commands without a server keep compiled forms: `ferrule/compiled` in the user's cache folder.
    pub(crate) compiled: Option<PathBuf>,
    /// The folder that holds this executable.
    pub(crate) executable_folder: Option<PathBuf>,
}

impl Surroundings {
    pub(crate) fn read() -> Self {
        let set = |name: &str| env::var_os(name).filter(|v| !v.is_empty());
        let base = |variable: &str, below_home: &str| {
            set(variable).map(PathBuf::from).or_else(|| set("HOME").map(|home| Path::new(&home).join(below_home)))
        };
        let data = set("FERRULE_DATA")
            .map(PathBuf::from)
            .or_else(|| Some(base("XDG_DATA_HOME", ".local/share")?.join("ferrule")));
        let compiled = base("XDG_CACHE_HOME", ".cache").map(|base| base.join("ferrule/compiled"));
        let executable_folder = env::current_exe()
            .ok()
            .and_then(|exe| exe.canonicalize().ok())
            .and_then(|exe| Some(exe.parent()?.to_owned()));
        let server = env::var("FERRULE_SERVER").ok().filter(|s| !s.is_empty());
        let file = |name: &str| set(name).map(PathBuf::from);
        let proofs = Proofs {
            token_file: file("FERRULE_TOKEN_FILE"),
            cacert: file("FERRULE_CACERT"),
            cert: file("FERRULE_CERT"),
            key: file("FERRULE_KEY"),
        };
        Self { no_color: set("NO_COLOR").is_some(), server, proofs, data, compiled, executable_folder }
    }

    /// Every variable. A guest is shown those that are granted to it by name, and no others.
    pub(crate) fn environment() -> BTreeMap<String, String> {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        env::vars_os().filter_map(text).collect()
    }

    /// The folders with the guests that came with this executable: `guests/` beside it or one level up.
    pub(crate) fn shipped_guests(&self) -> Vec<PathBuf> {
        let Some(folder) = &self.executable_folder else { return Vec::new() };
        [folder.join("guests"), folder.join("../guests"), folder.join("../lib/ferrule/guests")]
            .into_iter()
            .filter(|path| path.is_dir())
            .collect()
    }
}

/// The files with which a server over TLS is talked to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proofs {
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) cacert: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl Proofs {
    /// These, and where there are none, those `below`.
    pub(crate) fn or(self, below: Self) -> Self {
        Self {
            token_file: self.token_file.or(below.token_file),
            cacert: self.cacert.or(below.cacert),
            cert: self.cert.or(below.cert),
            key: self.key.or(below.key),
        }
    }
}

/// What every command is handed.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) output: Output,
    /// `--server`, if given.
    pub(crate) server: Option<String>,
    /// What to prove to a server over TLS, and whom to trust.
    pub(crate) proofs: Proofs,
    pub(crate) surroundings: Surroundings,
}

impl Context {
    /// The data folder to use: `given`, or this user's.
    pub(crate) fn data_folder(&self, given: Option<&Path>) -> Result<PathBuf, Failure> {
        given.map(Path::to_owned).or_else(|| self.surroundings.data.clone()).ok_or_else(|| {
            Failure::usage("no data folder is known: HOME is not set")
                .with_help("name one with --data DIR or FERRULE_DATA")
        })
    }
}
