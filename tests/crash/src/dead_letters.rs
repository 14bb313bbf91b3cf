//! Asks the runtime, by its command line, how many records it gave up.

use crate::runtime::Runtime;
use anyhow::{Context as _, Result};

/// Records in the dead letters, as far as the server tells: what the pipelines gave up since it started.
pub(crate) async fn count(runtime: &Runtime) -> Result<u64> {
    let text = runtime.run(&["status", "-o", "json"]).await?;
    let status: serde_json::Value = serde_json::from_str(&text).context("ferrule status printed no JSON")?;
    let pipelines = status["pipelines"].as_array().context("ferrule status names no pipelines")?;
    Ok(pipelines.iter().filter_map(|pipeline| pipeline["deadLettered"].as_u64()).sum())
}
