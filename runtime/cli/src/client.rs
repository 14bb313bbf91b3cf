//! The connection to a server, and what its errors mean for the exit code.

use std::fs;
use std::path::Path;

use ferrule_api::{Address, Client, Credentials, Error};
use ferrule_model::Code;

use crate::context::{Context, Proofs};
use crate::documents;
use crate::exit::{Exit, Failure};

impl Context {
    /// The address of the server to talk to: `--server`, `FERRULE_SERVER`, or the socket in this user's data folder.
    pub(crate) fn address(&self) -> Result<Address, Failure> {
        match &self.server {
            Some(text) => text.parse().map_err(|e: ferrule_api::address::AddressError| Failure::usage(e.to_string())),
            None => Ok(Address::Unix(ferrule_server::socket_in(&self.data_folder(None)?))),
        }
    }

    /// Connects to the server; without one, says how to start one.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        let address = self.address()?;
        // What the environment holds for another server is not for a local one.
        let credentials = if let Address::Unix(_) = address { Credentials::default() } else { self.credentials()? };
        Ok(Client::connect_as(address, credentials).await?)
    }

    fn credentials(&self) -> Result<Credentials, Failure> {
        let Proofs { token_file, cacert, cert, key } = &self.proofs;
        let token = token_file.as_deref().map(read).transpose()?;
        let token = token.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        if token.as_deref() == Some("") {
            return Err(Failure::usage("the file of --token-file is empty"));
        }
        let certificate = match (cert, key) {
            (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
            (None, None) => None,
            _ => return Err(Failure::usage("--cert and --key belong together, and one is missing")),
        };
        Ok(Credentials { token, roots: cacert.as_deref().map(read).transpose()?, certificate })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| {
        let failure = Failure::from(error);
        Failure { message: format!("{} cannot be read: {}", path.display(), failure.message), ..failure }
    })
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(diagnostics) => documents::refused(diagnostics),
            error @ Error::NoServer { .. } => Failure::new(Exit::NoServer, error.to_string()).with_code(Code::NoServer).with_help(
                "start one with `ferrule serve` in another terminal, or run documents without a server with `ferrule run FILE`;\n      \
                 a server elsewhere is named with --server or FERRULE_SERVER, one with TLS by https:// (and --cacert FILE if it has an authority of its own)",
            ),
            error @ Error::Gone(_) => Failure::new(Exit::NoServer, error.to_string())
                .with_code(Code::NoServer)
                .with_help("look at the server's own output; `ferrule status` shows whether it is back"),
            error @ Error::Protocol(_) => Failure::new(Exit::Failed, error.to_string()).with_code(Code::VersionMismatch),
            error => Failure::new(Exit::Failed, error.to_string()).with_code(Code::Internal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_does_not_explain_has_a_code_all_the_same() {
        for (error, code, exit) in [
            (Error::Gone("reset".into()), Code::NoServer, Exit::NoServer),
            (Error::Protocol("no frame".into()), Code::VersionMismatch, Exit::Failed),
            (Error::Internal("a task ended".into()), Code::Internal, Exit::Failed),
        ] {
            let failure = Failure::from(error);
            assert_eq!((failure.code, failure.exit), (Some(code), exit), "{failure}");
        }
    }
}
