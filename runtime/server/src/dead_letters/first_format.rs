//! The file of dead letters as the first release wrote it: one file to which letters were added and from which none was removed.
//!
//! A head of 12 bytes (magic, format 1), then frames: the length of the body (u32), the first 8 bytes of its SHA-256, and the
//! body, which is that of today without a number.

use std::fs;
use std::io;
use std::path::Path;

use ferrule_flow::DeadLetter;

use super::frame::{LARGEST_BODY, checksum, decode_letter, invalid};

const MAGIC: &[u8; 8] = b"FERRULDL";
const FORMAT: u32 = 1;
const HEAD: usize = 12;
const FRAME_HEAD: usize = 12;

/// The letters of the file, oldest first; none if there is no such file. What follows a damaged frame is moved aside, since
/// frames of this format cannot be found again behind damage.
pub(super) fn read(path: &Path) -> io::Result<Vec<DeadLetter>> {
    let content = match fs::read(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let Some((head, mut rest)) = content.split_at_checked(HEAD) else {
        // Its making was cut off; nothing was ever in it.
        return Ok(Vec::new());
    };
    if !head.starts_with(MAGIC) {
        return Err(invalid("it is not a file of dead letters"));
    }
    if head.get(MAGIC.len()..) != Some(&FORMAT.to_le_bytes()[..]) {
        return Err(invalid("it was written by a newer release"));
    }
    let mut letters = Vec::new();
    while !rest.is_empty() {
        let Some((body, behind)) = frame(rest) else {
            let at = content.len() - rest.len();
            let aside = path.with_extension(format!("damaged-at-{at}"));
            fs::write(&aside, rest)?;
            tracing::warn!(
                file = %path.display(), aside = %aside.display(), bytes = rest.len(),
                "the file of dead letters ended in a damaged frame, which was moved aside"
            );
            break;
        };
        letters.push(decode_letter(body)?);
        rest = behind;
    }
    Ok(letters)
}

/// The body of the first frame, and what is behind the frame.
fn frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_at_checked(FRAME_HEAD)?;
    let (size, sum) = head.split_at_checked(4)?;
    let size = u32::from_le_bytes(size.try_into().ok()?);
    if size > LARGEST_BODY {
        return None;
    }
    let (body, behind) = rest.split_at_checked(size as usize)?;
    (checksum(body) == sum).then_some((body, behind))
}

#[cfg(test)]
pub(super) fn write(path: &Path, letters: &[DeadLetter]) {
    let mut content = [&MAGIC[..], &FORMAT.to_le_bytes()].concat();
    for letter in letters {
        let mut frame = Vec::new();
        super::frame::encode(0, letter, &mut frame).unwrap();
        // Without mark, length and sum, and without the number.
        let body = &frame[24..];
        content.extend_from_slice(&(body.len() as u32).to_le_bytes());
        content.extend_from_slice(&checksum(body));
        content.extend_from_slice(body);
    }
    fs::write(path, content).unwrap();
}
