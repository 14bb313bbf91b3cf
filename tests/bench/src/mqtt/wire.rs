//! The two ends of the bridge: MQTT 3.1.1 clients that do just enough, so that they take little from what is measured.

use anyhow::{Context as _, Result, bail, ensure};
use std::io::{BufReader, BufWriter, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Acknowledgements that the subscriber gathers before it sends them.
const ACKS_AT_ONCE: usize = 64;

const CONNECT: u8 = 0x10;
const PUBLISH_QOS_1: u8 = 0x32;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;

fn connect(broker: SocketAddr, name: &str) -> Result<(BufReader<TcpStream>, BufWriter<TcpStream>)> {
    let stream = TcpStream::connect(broker)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut writer = BufWriter::with_capacity(1 << 16, stream.try_clone()?);
    // Protocol 4 (3.1.1), a clean session, no keep-alive.
    let mut body = b"\0\x04MQTT\x04\x02\0\0".to_vec();
    text(&mut body, name);
    packet(&mut writer, CONNECT, &[&body])?;
    writer.flush()?;
    let mut reader = BufReader::with_capacity(1 << 16, stream);
    let mut answer = Vec::new();
    let kind = read(&mut reader, &mut answer)?;
    ensure!(kind == 0x20 && answer.get(1) == Some(&0), "the broker refused the connection");
    Ok((reader, writer))
}

fn text(to: &mut Vec<u8>, text: &str) {
    to.extend_from_slice(&(text.len() as u16).to_be_bytes());
    to.extend_from_slice(text.as_bytes());
}

fn packet(to: &mut impl std::io::Write, kind: u8, parts: &[&[u8]]) -> Result<()> {
    let mut length = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut head = vec![kind];
    loop {
        let more = if length > 127 { 0x80 } else { 0 };
        head.push((length & 127) as u8 | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    to.write_all(&head)?;
    for part in parts {
        to.write_all(part)?;
    }
    Ok(())
}

/// The next packet: its first byte, and its body in `body`.
fn read(from: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> Result<u8> {
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    let kind = byte[0];
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        from.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 127) << shift;
        shift += 7;
        if byte[0] < 128 {
            break;
        }
    }
    body.resize(length, 0);
    from.read_exact(body)?;
    Ok(kind)
}

/// Publishes with QoS 1.
pub(super) struct Publisher {
    reader: BufReader<TcpStream>,
    writer: BufWriter<TcpStream>,
    next: u16,
    unanswered: usize,
    body: Vec<u8>,
}

impl Publisher {
    pub(super) fn connect(broker: SocketAddr) -> Result<Publisher> {
        let (reader, writer) = connect(broker, "near-end")?;
        Ok(Publisher { reader, writer, next: 1, unanswered: 0, body: Vec::new() })
    }

    /// Publishes one message, and waits while `window` wait for their acknowledgement.
    pub(super) fn publish(&mut self, topic: &str, content: &[u8], window: usize) -> Result<()> {
        let mut head = Vec::with_capacity(topic.len() + 4);
        text(&mut head, topic);
        head.extend_from_slice(&self.next.to_be_bytes());
        packet(&mut self.writer, PUBLISH_QOS_1, &[&head, content])?;
        self.next = self.next.checked_add(1).unwrap_or(1);
        self.unanswered += 1;
        if self.unanswered < window { Ok(()) } else { self.flush() }
    }

    /// Waits until everything is acknowledged.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.writer.flush()?;
        while self.unanswered > 0 {
            let kind = read(&mut self.reader, &mut self.body)?;
            ensure!(kind == PUBACK, "expected an acknowledgement, not {kind:#x}");
            self.unanswered -= 1;
        }
        Ok(())
    }
}

/// Subscribes with QoS 1 and acknowledges what comes.
pub(super) struct Subscriber {
    reader: BufReader<TcpStream>,
    writer: BufWriter<TcpStream>,
    body: Vec<u8>,
    acknowledged: usize,
}

impl Subscriber {
    pub(super) fn connect(broker: SocketAddr, topic: &str) -> Result<Subscriber> {
        let (reader, mut writer) = connect(broker, "far-end")?;
        let mut body = vec![0, 1];
        text(&mut body, topic);
        body.push(1);
        packet(&mut writer, SUBSCRIBE, &[&body])?;
        writer.flush()?;
        let mut subscriber = Subscriber { reader, writer, body: Vec::new(), acknowledged: 0 };
        let kind = read(&mut subscriber.reader, &mut subscriber.body)?;
        ensure!(kind == 0x90, "the broker refused the subscription");
        Ok(subscriber)
    }

    /// The content of the next message.
    pub(super) fn next(&mut self) -> Result<&[u8]> {
        // Before it waits for more, the broker must have what was acknowledged.
        if self.reader.buffer().is_empty() || self.acknowledged >= ACKS_AT_ONCE {
            self.writer.flush()?;
            self.acknowledged = 0;
        }
        let kind = read(&mut self.reader, &mut self.body)?;
        if kind & 0xf6 != PUBLISH_QOS_1 {
            bail!("expected a message with QoS 1, not {kind:#x}");
        }
        let topic = self.body.get(..2).context("a message without a topic")?;
        let head = 2 + usize::from(u16::from_be_bytes([topic[0], topic[1]]));
        let name = self.body.get(head..head + 2).context("a message without a name")?;
        packet(&mut self.writer, PUBACK, &[name])?;
        self.acknowledged += 1;
        Ok(&self.body[head + 2..])
    }

    /// Whether a message comes within this time; it is taken.
    pub(super) fn within(&mut self, time: Duration) -> Result<bool> {
        self.writer.flush()?;
        if self.reader.buffer().is_empty() {
            let stream = self.reader.get_ref();
            stream.set_read_timeout(Some(time))?;
            let came = stream.peek(&mut [0]);
            stream.set_read_timeout(Some(PATIENCE))?;
            match came {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(false),
                other => drop(other?),
            }
        }
        self.next()?;
        self.writer.flush()?;
        Ok(true)
    }
}
