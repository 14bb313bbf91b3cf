//! An encrypted connection on a socket that blocks nobody: bytes are taken from the socket only when somebody reads.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::client::ClientConnection;

use super::explain::Talk;

/// The encryption of a connection, shared by its two directions.
pub(crate) struct Session {
    state: Mutex<State>,
    talk: Talk,
}

struct State {
    tls: ClientConnection,
    /// Why it ended, while what came before is being read.
    failed: Option<io::Error>,
}

impl Session {
    /// A connection whose handshake is over.
    pub(crate) fn new(mut tls: ClientConnection, talk: Talk) -> Self {
        // Whoever writes more only when all is gone bounds it.
        tls.set_buffer_limit(None);
        Self { state: Mutex::new(State { tls, failed: None }), talk }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what the socket has, at least one byte; none at the end, [`io::ErrorKind::WouldBlock`] if it has nothing now.
    pub(crate) fn read(&self, socket: &TcpStream, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        let mut filled = 0;
        loop {
            match state.tls.reader().read(&mut into[filled..]) {
                Ok(0) => return Ok(filled),
                Ok(read) => {
                    filled += read;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) if filled > 0 => return Ok(filled),
                Err(_) => return Err(self.talk.cut_off()),
            }
            if let Err(error) = self.receive(&mut state, socket) {
                if filled == 0 {
                    return Err(error);
                }
                if error.kind() != io::ErrorKind::WouldBlock {
                    state.failed = Some(error);
                }
                return Ok(filled);
            }
        }
    }

    /// Takes what the socket has into the encryption.
    fn receive(&self, state: &mut State, mut socket: &TcpStream) -> io::Result<()> {
        if let Some(error) = state.failed.take() {
            return Err(error);
        }
        state.tls.read_tls(&mut socket)?;
        let taken = state.tls.process_new_packets();
        // Answers of the protocol's own, and why it ends: nothing depends on them here.
        let _ = push(&mut state.tls, socket);
        taken.map(|_| ()).map_err(|error| self.talk.broken(&error))
    }

    /// Takes all of the bytes, and writes what the socket takes of them; the rest is [kept](Self::keeps). Takes none, and fails with
    /// [`io::ErrorKind::WouldBlock`], while something is kept from before.
    pub(crate) fn write(&self, socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        if let Err(error) = push(&mut state.tls, socket) {
            return Err(self.reason(&mut state, socket, error));
        }
        state.tls.writer().write_all(bytes)?;
        match push(&mut state.tls, socket) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(self.reason(&mut state, socket, error)),
            _ => Ok(bytes.len()),
        }
    }

    /// Whether there are bytes that the socket did not take yet.
    pub(crate) fn keeps(&self) -> bool {
        self.state().tls.wants_write()
    }

    /// Says goodbye.
    pub(crate) fn end(&self, socket: &TcpStream) {
        let mut state = self.state();
        state.tls.send_close_notify();
        let _ = push(&mut state.tls, socket);
    }

    /// What the other side said before it closed the connection, in place of the socket's error.
    fn reason(&self, state: &mut State, socket: &TcpStream, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::WouldBlock {
            return error;
        }
        while state.tls.read_tls(&mut &*socket).is_ok_and(|read| read > 0) {
            if let Err(said) = state.tls.process_new_packets() {
                return self.talk.broken(&said);
            }
        }
        error
    }
}

/// Writes what waits, as far as the socket takes it.
fn push(tls: &mut ClientConnection, mut socket: &TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        if tls.write_tls(&mut socket)? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}
