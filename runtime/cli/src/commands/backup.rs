//! `ferrule backup`: a copy of the server's data folder, while it runs.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use ferrule_api::Platform as _;
use tokio_stream::StreamExt as _;

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};

/// Writes a copy of the server's data folder as it is now into a file, while the server goes on: objects, components, the log
/// with its cursors, dead letters. `ferrule restore` makes a data folder of it again. It holds everything that documents
/// say, passwords in parameters included: keep it as you keep those. Secrets are in it sealed, and their key is not.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrule backup ferrule-2026-01-31.tar\n  ferrule backup - | ssh other 'cat > ferrule.tar'"
)]
pub(crate) struct Backup {
    /// The file to write, which must not be there yet; `-` for standard output.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Also put the key in with which secrets are sealed: whoever has such a backup has the secrets. Without it they are of no use
    /// until the key is put beside them, or they are applied again.
    #[arg(long)]
    with_secret_key: bool,
}

impl Backup {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let client = context.client().await?;
        if self.file == Path::new("-") {
            let mut pieces = client.backup(self.with_secret_key).await?;
            while let Some(piece) = pieces.next().await {
                context.output.raw(&piece?)?;
            }
            return Ok(());
        }
        let failed = |error: std::io::Error| {
            let failure = Failure::from(error);
            Failure { message: format!("{} cannot be written: {}", self.file.display(), failure.message), ..failure }
        };
        if self.file.try_exists().map_err(failed)? {
            let text = format!("{} is there already", self.file.display());
            return Err(
                Failure::new(Exit::Conflict, text).with_help("name a new file, so that no older backup is lost")
            );
        }
        let folder = match self.file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // Readable by its owner alone; it gets its name when it is whole.
        let mut file = tempfile::Builder::new().prefix(".ferrule-backup-").tempfile_in(folder).map_err(failed)?;
        let mut pieces = client.backup(self.with_secret_key).await?;
        let mut bytes = 0;
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            bytes += piece.len();
            file.write_all(&piece).map_err(failed)?;
        }
        file.as_file().sync_all().map_err(failed)?;
        let written = file.persist_noclobber(&self.file).map_err(|error| failed(error.error))?;
        drop(written);
        context
            .output
            .say(format!("{} has {bytes} bytes; `ferrule restore {0} --check` reads it again", self.file.display()));
        Ok(())
    }
}
