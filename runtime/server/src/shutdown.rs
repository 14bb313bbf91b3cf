//! What tells a process to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and Ctrl-C (SIGINT). From when this is made they no longer end the process: whoever makes it answers them.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes both signals over. Inside a tokio runtime only.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Ready when the process is asked to end, with what asked. Ask again for the next time.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "Ctrl-C",
        }
    }
}
