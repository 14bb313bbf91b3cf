//! Base64 with padding (RFC 4648, section 4), for bytes in scripts and on the command line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Bytes as base64.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Base64 as bytes. Spaces and line ends are passed over, so that long values can be folded.
pub fn decode(text: &str) -> Result<Vec<u8>, String> {
    let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(packed).map_err(|error| format!("not base64: {error}"))
}
