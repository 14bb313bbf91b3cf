//! One dead letter as bytes: how it is written, read again, and found behind damage.
//!
//! A frame is a mark of 4 bytes, the length of its body (u32), the first 8 bytes of the body's SHA-256, and the body: the
//! letter's number (u64), the length of a JSON head (u32), that head, and the record's bytes in the order that the head gives
//! lengths for. Integers are little-endian. The mark is there so that whole frames are found again behind a damaged one.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use ferrule_flow::DeadLetter;
use ferrule_model::Uid;
use ferrule_model::record::RecordAddress;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const MARK: [u8; 4] = [0xF1, b'D', b'L', b'\n'];

/// The mark, the length and the checksum.
const FRAME_HEAD: usize = 16;

/// The largest body that is believed: a record has at most a few MiB, so a larger length is damage.
pub(super) const LARGEST_BODY: u32 = 64 * 1024 * 1024;

/// The part of a letter that is JSON; the bytes follow in the order of the lengths.
#[derive(Serialize, Deserialize)]
pub(super) struct Head {
    id: String,
    /// Stream, partition and offset.
    address: Option<(Uid, u32, u64)>,
    stream: Uid,
    pipeline: Option<Uid>,
    pipeline_name: String,
    step: String,
    component: String,
    /// Absent in letters that were written before there were codes.
    #[serde(default)]
    code: Option<String>,
    reason: String,
    attempts: u32,
    time_ms: i64,
    timestamp_ns: Option<i64>,
    truncated: u64,
    payload: u32,
    key: u32,
    headers: u32,
}

pub(super) fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Adds the frame of a letter to `bytes`; where it is there.
pub(super) fn encode(number: u64, letter: &DeadLetter, bytes: &mut Vec<u8>) -> io::Result<Range<usize>> {
    let length = |part: &[u8]| u32::try_from(part.len()).map_err(|_| invalid("a record of more than 4 GiB"));
    let head = Head {
        id: letter.id.to_string(),
        address: letter.address.as_ref().map(|at| (at.stream.clone(), at.partition, at.offset)),
        stream: letter.stream.clone(),
        pipeline: letter.pipeline.clone(),
        pipeline_name: letter.pipeline_name.clone(),
        step: letter.step.clone(),
        component: letter.component.clone(),
        code: Some(letter.code.to_string()),
        reason: letter.reason.clone(),
        attempts: letter.attempts,
        time_ms: letter.time_ms,
        timestamp_ns: letter.timestamp_ns,
        truncated: letter.truncated,
        payload: length(&letter.payload)?,
        key: length(&letter.key)?,
        headers: length(&letter.headers)?,
    };
    let head = serde_json::to_vec(&head)?;
    let content = letter.payload.len() + letter.key.len() + letter.headers.len();
    let mut body = Vec::with_capacity(12 + head.len() + content);
    body.extend_from_slice(&number.to_le_bytes());
    body.extend_from_slice(&length(&head)?.to_le_bytes());
    body.extend_from_slice(&head);
    body.extend_from_slice(&letter.payload);
    body.extend_from_slice(&letter.key);
    body.extend_from_slice(&letter.headers);
    let size = length(&body)?;
    if size > LARGEST_BODY {
        return Err(invalid(format!("a record of {size} bytes; at most {LARGEST_BODY} are kept")));
    }
    let start = bytes.len();
    bytes.extend_from_slice(&MARK);
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(&checksum(&body));
    bytes.extend_from_slice(&body);
    Ok(start..bytes.len())
}

/// The first 8 bytes of the SHA-256.
pub(super) fn checksum(body: &[u8]) -> [u8; 8] {
    let mut short = [0; 8];
    short.copy_from_slice(&Sha256::digest(body)[..8]);
    short
}

/// The body of the frame at the start of `bytes`, if there is a whole one, and the frame's length.
fn frame(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (head, rest) = bytes.split_at_checked(FRAME_HEAD)?;
    let (mark, head) = head.split_at_checked(4)?;
    let (size, sum) = head.split_at_checked(4)?;
    let size = u32::from_le_bytes(size.try_into().ok()?);
    if mark != MARK || size > LARGEST_BODY {
        return None;
    }
    let body = rest.get(..size as usize)?;
    (checksum(body) == sum).then_some((body, FRAME_HEAD + size as usize))
}

/// The letter in a whole frame, and its number.
pub(super) fn decode(bytes: &[u8]) -> io::Result<(u64, DeadLetter)> {
    let (body, _) = frame(bytes).ok_or_else(|| invalid("its frame is damaged"))?;
    let (number, rest) = body.split_at_checked(8).ok_or_else(|| invalid("a frame ends early"))?;
    let number = number.try_into().map(u64::from_le_bytes).map_err(|_| invalid("a frame ends early"))?;
    Ok((number, decode_letter(rest)?))
}

/// The letter in a body behind its number.
pub(super) fn decode_letter(body: &[u8]) -> io::Result<DeadLetter> {
    let mut rest = body;
    let mut take = |count: u32| -> io::Result<&[u8]> {
        let (taken, left) = rest.split_at_checked(count as usize).ok_or_else(|| invalid("a frame ends early"))?;
        rest = left;
        Ok(taken)
    };
    let length = take(4)?.try_into().map(u32::from_le_bytes).map_err(|_| invalid("a frame ends early"))?;
    let head: Head = serde_json::from_slice(take(length)?)?;
    let mut part = |count| take(count).map(Bytes::copy_from_slice);
    Ok(DeadLetter {
        id: head.id.parse().map_err(|_| invalid("a record id cannot be read"))?,
        address: head.address.map(|(stream, partition, offset)| RecordAddress { stream, partition, offset }),
        stream: head.stream,
        pipeline: head.pipeline,
        pipeline_name: head.pipeline_name,
        step: head.step,
        component: head.component,
        code: head.code.and_then(|code| code.parse().ok()).unwrap_or_default(),
        reason: head.reason,
        attempts: head.attempts,
        time_ms: head.time_ms,
        timestamp_ns: head.timestamp_ns,
        truncated: head.truncated,
        payload: part(head.payload)?,
        key: part(head.key)?,
        headers: part(head.headers)?,
    })
}

/// What is in a file of frames, in order.
pub(super) enum Found {
    /// A letter, its number, and where its frame is.
    Letter(u64, Box<DeadLetter>, Range<usize>),
    /// Bytes that are no whole frame, with one behind them.
    Damage(Range<usize>),
    /// Bytes up to the end that are no whole frame.
    Torn(Range<usize>),
}

/// Tells `found` what there is from `at` on.
pub(super) fn scan(content: &[u8], mut at: usize, mut found: impl FnMut(Found)) {
    let read = |at: usize| {
        let bytes = content.get(at..)?;
        let (_, length) = frame(bytes)?;
        let (number, letter) = decode(bytes).ok()?;
        Some((number, letter, at..at + length))
    };
    while at < content.len() {
        if let Some((number, letter, place)) = read(at) {
            at = place.end;
            found(Found::Letter(number, Box::new(letter), place));
            continue;
        }
        let rest = content.get(at + 1..).unwrap_or_default();
        let behind = rest.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
        let next = behind.map(|(index, _)| at + 1 + index).find(|next| read(*next).is_some());
        match next {
            Some(next) => found(Found::Damage(at..next)),
            None => found(Found::Torn(at..content.len())),
        }
        at = next.unwrap_or(content.len());
    }
}
