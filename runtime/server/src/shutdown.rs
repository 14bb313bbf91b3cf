//! What tells a server to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Ready when the process is asked to end: SIGTERM, or Ctrl-C (SIGINT). Ask again for the second time.
pub async fn requested() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "Ctrl-C",
    })
}
