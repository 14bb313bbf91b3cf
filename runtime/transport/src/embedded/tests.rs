//! The embedded log against the conformance suite, and over its own files.

use tempfile::TempDir;

use super::*;
use crate::conformance;

/// A log, and the folder that goes with it.
fn log(folder: &TempDir, name: &str, largest: usize) -> EmbeddedLog {
    let options = Options { largest_record: largest, ..Options::new(folder.path().join(name)) };
    EmbeddedLog::open(options).unwrap()
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_log() {
    let folder = TempDir::new().unwrap();
    for durability in [Durability::Process, Durability::System, Durability::Disk] {
        let count = std::cell::Cell::new(0);
        let make = async |largest| {
            count.set(count.get() + 1);
            log(&folder, &format!("{durability:?}-{}", count.get()), largest)
        };
        conformance::run_at(durability, make).await.unwrap();
    }
}
