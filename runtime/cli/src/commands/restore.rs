//! `ferrule restore`: a data folder made from a backup.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use ferrule_server::{RestoreError, Restored, check_backup, restore};

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};
use crate::views::time;

/// Makes a data folder from a backup, for a server to be started on. Everything in the backup is checked first; the folder
/// appears when it is whole. What was delivered after the backup was made is delivered again, with the same ids.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ferrule restore ferrule-2026-01-31.tar --data /var/lib/ferrule\n  \
                        ferrule restore ferrule-2026-01-31.tar --check")]
pub(crate) struct Restore {
    /// The backup; `-` for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder to make, where nothing is yet [default: FERRULE_DATA, or ferrule in the user's data folder].
    #[arg(long, value_name = "DIR", conflicts_with = "check")]
    data: Option<PathBuf>,
    /// Only read the backup, and say whether it is whole.
    #[arg(long)]
    check: bool,
}

impl Restore {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let place = if self.check { None } else { Some(context.data_folder(self.data.as_deref())?) };
        let (file, to) = (self.file.clone(), place.clone());
        let restored = tokio::task::spawn_blocking(move || read(&file, to.as_deref()))
            .await
            .map_err(|error| Failure::new(Exit::Failed, error.to_string()))??;
        let Restored { release, made_ms, transport, secret_key, files, bytes } = restored;
        let made = format!("made {} by release {release}: {files} files, {bytes} bytes", time(made_ms));
        match place {
            None => context.output.say(format!("{} is whole; {made}", self.file.display())),
            Some(place) => context.output.say(format!("{} is as in the backup {made}", place.display())),
        }
        if !secret_key {
            context.output.warn(
                "the key to the secrets is not in it: copy `secret.key` from the server's data folder into the new one, start it \
                 with --secret-key, or apply the secrets again",
            );
        }
        if transport != "embedded" {
            let text = format!("its records on their way were kept by the transport `{transport}`, and are not in it");
            context.output.warn(text);
        }
        Ok(())
    }
}

fn read(file: &Path, to: Option<&Path>) -> Result<Restored, Failure> {
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let opened = File::open(file).map_err(|error| {
            let failure = Failure::from(error);
            Failure { message: format!("{} cannot be read: {}", file.display(), failure.message), ..failure }
        })?;
        Box::new(opened)
    };
    let read = match to {
        Some(to) => restore(source, to),
        None => check_backup(source),
    };
    read.map_err(|error| {
        let text = format!("{}: {error}", file.display());
        match error {
            RestoreError::NotABackup(_) => Failure::new(Exit::Invalid, text).with_help("nothing was changed"),
            RestoreError::Newer { .. } => Failure::new(Exit::Refused, text),
            RestoreError::NotEmpty(_) => Failure::new(Exit::Conflict, error.to_string())
                .with_help("name another folder with --data, or move that one away"),
            _ => Failure::new(Exit::Failed, error.to_string()),
        }
    })
}
