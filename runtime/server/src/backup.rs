//! A copy of the data folder while the server runs, as one tar file; and the folder made from it again.
//!
//! ```text
//! backup.json        what this is: format, data folder's format, release, time, transport; always the first entry
//! log/…              the journal, frozen first: what is delivered after that moment is delivered again after a restore
//! dead-letters/…     frozen after the log, so that a record that the log calls done because its letter is stored has its letter
//! store.redb         frozen last
//! secret.key         the key to the secrets, if somebody asked for it
//! components/…       by digest
//! sums.json          every entry above with its size and SHA-256; always the last entry, so that a cut is seen
//! ```

mod make;
mod read;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use make::backup;
pub use read::{RestoreError, Restored, check_backup, restore};

/// The format of the file that this release writes, and the newest that it reads.
const FORMAT: u32 = 1;

const HEAD: &str = "backup.json";
const SUMS: &str = "sums.json";

/// The first entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    /// [`FORMAT`].
    backup: u32,
    /// The format of the data folder.
    folder: u32,
    /// The release that wrote it.
    release: String,
    /// Milliseconds since 1970.
    made_ms: i64,
    /// Where records were on their way. Only those of the embedded log are in the backup.
    transport: String,
    /// Whether the key to the secrets is in it.
    #[serde(default)]
    secret_key: bool,
}

/// The last entry: what every other has.
type Sums = BTreeMap<String, Sum>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    bytes: u64,
    sha256: String,
}

fn hex(digest: impl AsRef<[u8]>) -> String {
    use std::fmt::Write as _;
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
