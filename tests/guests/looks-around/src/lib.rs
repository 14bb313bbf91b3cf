//! Tries everything that WASI has beside our own interfaces: environment, standard input, files, sockets of the standard
//! library. The host must give it none of it beyond the folders that were granted.

use naughty_connector::{Error, Naughty, Opened, Session, naughty};
use std::io::Read as _;
use std::net::{TcpStream, UdpSocket};

struct LooksAround;

impl Naughty for LooksAround {
    fn open(session: Session) -> Result<Opened, Error> {
        let parameters = session.parameters.trim_matches('"');
        let (folder, address) = parameters.split_once(' ').unwrap_or((parameters, "127.0.0.1:1"));
        let mut typed = String::new();
        let mut properties = Vec::new();
        let mut tell = |name: &str, value: String| properties.push((name.to_owned(), value));
        tell("environment", std::env::vars().count().to_string());
        tell("arguments", std::env::args().count().to_string());
        tell("input", std::io::stdin().read_to_string(&mut typed).map(|_| typed.len()).unwrap_or(0).to_string());
        tell("read", std::fs::read_to_string(format!("{folder}/file")).unwrap_or_else(|error| error.to_string()));
        tell(
            "write",
            std::fs::write(format!("{folder}/made"), "x").map_or_else(|error| error.to_string(), |()| "done".into()),
        );
        tell(
            "escape",
            std::fs::read_to_string(format!("{folder}/../outside"))
                .map_or_else(|_| "refused".into(), |_| "read".into()),
        );
        tell(
            "link",
            std::fs::read_to_string(format!("{folder}/link")).map_or_else(|_| "refused".into(), |_| "read".into()),
        );
        tell(
            "socket",
            TcpStream::connect(address).map_or_else(|error| format!("{:?}", error.kind()), |_| "connected".into()),
        );
        let datagram = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"x", address));
        tell("datagram", datagram.map_or_else(|error| format!("{:?}", error.kind()), |_| "sent".into()));
        tell("shown", std::env::var("SHOWN").unwrap_or_default());
        Ok(Opened { replayable: false, properties })
    }
}

naughty!(LooksAround);
