//! A socket, plain or encrypted, that blocks nobody and that nobody watches.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rustls::client::ClientConnection;

use super::quota::Tally;
use super::tls::{Session, Talk};

/// Both directions of a connection. Cloning it is cheap, and it is the same connection.
#[derive(Clone)]
pub(super) struct Wire {
    socket: Arc<TcpStream>,
    /// The encryption; none: bytes go as they are.
    session: Option<Arc<Session>>,
    tally: Arc<Tally>,
}

impl Wire {
    pub(super) fn plain(socket: TcpStream, tally: Tally) -> Self {
        Self { socket: Arc::new(socket), session: None, tally: Arc::new(tally) }
    }

    pub(super) fn encrypted(socket: TcpStream, tls: ClientConnection, talk: Talk, tally: Tally) -> Self {
        let session = Some(Arc::new(Session::new(tls, talk)));
        Self { socket: Arc::new(socket), session, tally: Arc::new(tally) }
    }

    /// What to watch while somebody waits.
    pub(super) fn socket(&self) -> &Arc<TcpStream> {
        &self.socket
    }

    /// Reads what there is: none at the end, [`io::ErrorKind::WouldBlock`] if there is nothing now.
    pub(super) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let read = match &self.session {
            None => (&*self.socket).read(into),
            Some(session) => session.read(&self.socket, into),
        }?;
        self.tally.received(read);
        Ok(read)
    }

    /// Takes as many of the bytes as go without waiting. Those that it takes may not be [all gone](Self::keeps).
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &self.session {
            None => (&*self.socket).write(bytes),
            Some(session) => session.write(&self.socket, bytes),
        }?;
        self.tally.sent(written);
        Ok(written)
    }

    /// Whether it has taken bytes that are not gone; writing none goes on with them.
    pub(super) fn keeps(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.keeps())
    }

    /// Tells the peer the end. A connection that is broken needs none.
    pub(super) fn end(&self) {
        if let Some(session) = &self.session {
            session.end(&self.socket);
        }
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}
