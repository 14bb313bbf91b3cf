//! Benchmarks that count at the far end and print ratios: `cargo xtask bench hop`.

mod hop;

use anyhow::{Result, bail};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("hop") => hop::run().await,
        other => bail!("which benchmark? There is `hop`, not {other:?}"),
    }
}
