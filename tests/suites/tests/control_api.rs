//! The control API over TCP, from outside: TLS, tokens, client certificates, and what a role may not do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use ferrule_suites::Ferrule;
use ferrule_suites::certificates::Authority;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

const WRITER: &str = "token-of-one-who-may-write";
const READER: &str = "token-of-one-who-may-read";

const PROJECT: &str = "apiVersion: connector.ferrule.dev/v1\nkind: Project\nmetadata: {name: plant}\n";

/// A server with TLS, and the words that a command needs to talk to it.
struct Guarded {
    ferrule: Ferrule,
    server: String,
}

fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn private(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The fingerprint of a certificate, as the file of the server has it.
fn fingerprint(pem: &str) -> String {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let mut decode = Command::new("sh");
    let script = format!("printf %s '{body}' | base64 -d | sha256sum");
    let output = decode.args(["-c", &script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

impl Guarded {
    fn start() -> Guarded {
        let (authority, clients) = (Authority::new("Office CA"), Authority::new("Clients CA"));
        let mut ferrule = Ferrule::idle();
        let issued = authority.issue("127.0.0.1");
        let client = clients.issue("ada");
        ferrule.file("ca.pem", authority.pem());
        ferrule.file("server.pem", &issued.certificate);
        ferrule.file("server.key", &issued.key);
        ferrule.file("clients.pem", clients.pem());
        ferrule.file("ada.pem", &client.certificate);
        ferrule.file("ada.key", &client.key);
        for (name, token) in [("writer", WRITER), ("reader", READER), ("stranger", "token-that-nobody-knows")] {
            ferrule.file(name, format!("{token}\n"));
        }
        let print = fingerprint(&client.certificate);
        let access = format!("# who may what\nwrite token {WRITER}\nread token {READER}\nread cert {print}\n");
        private(&ferrule.file("access", access));
        let address = free();
        let path = |name: &str| ferrule.folder().join(name).display().to_string();
        let arguments = [
            ("--listen", address.clone()),
            ("--tls-cert", path("server.pem")),
            ("--tls-key", path("server.key")),
            ("--tls-client-ca", path("clients.pem")),
            ("--access", path("access")),
        ];
        let words: Vec<String> = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        ferrule.set_arguments(&words.iter().map(String::as_str).collect::<Vec<_>>());
        ferrule.up();
        Guarded { ferrule, server: format!("https://{address}") }
    }

    fn path(&self, name: &str) -> String {
        self.ferrule.folder().join(name).display().to_string()
    }

    /// Runs a command over the network, with more options.
    fn run(&self, options: &[&str], words: &[&str]) -> ferrule_suites::ferrule::Answer {
        let ca = self.path("ca.pem");
        let all = [words, &["--server", &self.server, "--cacert", &ca], options].concat();
        self.ferrule.feed(&all, PROJECT.as_bytes())
    }
}

#[test]
fn a_token_opens_what_its_role_may_and_nothing_more() {
    let server = Guarded::start();
    let [writer, reader, stranger] = ["writer", "reader", "stranger"].map(|name| server.path(name));
    server.run(&["--token-file", &writer], &["apply", "-f", "-"]).ok();
    assert!(server.run(&["--token-file", &reader], &["get", "projects"]).ok().out.contains("plant"));
    for words in [&["apply", "-f", "-"][..], &["delete", "project", "plant"], &["pause", "x"]] {
        server.run(&["--token-file", &reader], words).fails(5, &["FE0612", "may only read", "`write`"]);
    }
    server
        .run(&["--token-file", &stranger], &["get", "projects"])
        .fails(5, &["FE0612", "does not know this token", "--access"]);
    server.run(&[], &["get", "projects"]).fails(5, &["FE0612", "wants to know who is calling", "--token-file"]);
    // A backup is made on the server's machine, whoever asks.
    server.run(&["--token-file", &writer], &["backup", &server.path("backup")]).fails(1, &["over the network"]);
    let shown = server.ferrule.log();
    assert!(![WRITER, READER].iter().any(|token| shown.contains(token)), "a token is in the log: {shown}");
}

#[test]
fn a_client_certificate_is_as_good_as_a_token() {
    let server = Guarded::start();
    let (cert, key) = (server.path("ada.pem"), server.path("ada.key"));
    server.run(&["--cert", &cert, "--key", &key], &["get", "projects"]).ok();
    server.run(&["--cert", &cert, "--key", &key], &["apply", "-f", "-"]).fails(5, &["FE0612", "may only read"]);
    server.run(&["--cert", &cert], &["get", "projects"]).fails(2, &["--cert and --key belong together"]);
    // One of an authority that the server does not trust does not get through the door.
    let (stranger, ca) = (Authority::new("Strangers CA").issue("eve"), server.path("ca.pem"));
    let cert = server.ferrule.file("eve.pem", stranger.certificate).display().to_string();
    let key = server.ferrule.file("eve.key", stranger.key).display().to_string();
    let answer = server.ferrule.run(&[
        "get",
        "projects",
        "--server",
        &server.server,
        "--cacert",
        &ca,
        "--cert",
        &cert,
        "--key",
        &key,
    ]);
    assert_ne!(answer.code, 0);
}

#[test]
fn the_other_side_must_be_who_it_says() {
    let server = Guarded::start();
    let writer = server.path("writer");
    // The system does not trust the authority of this test, and nobody else's will do.
    server
        .ferrule
        .run(&["get", "projects", "--server", &server.server, "--token-file", &writer])
        .fails(6, &["no server answers", "--cacert"]);
    // Without TLS nothing is said, and no token is sent.
    let plain = server.server.replace("https://", "http://");
    server
        .ferrule
        .run(&["get", "projects", "--server", &plain])
        .fails(6, &["a server with TLS is reached by https://"]);
    server
        .ferrule
        .run(&["get", "projects", "--server", &plain, "--token-file", &writer])
        .fails(5, &["FE0612", "everybody on the way"]);
}

#[test]
fn a_server_is_not_open_to_the_network_by_mistake() {
    let ferrule = Ferrule::idle();
    let data = ferrule.folder().join("other").display().to_string();
    let serve = |more: &[&str]| ferrule.run(&[&["serve", "--data", &data, "--no-metrics"], more].concat());
    serve(&["--listen", "0.0.0.0:0"]).fails(
        2,
        &["anybody who can reach 0.0.0.0:0", "--tls-cert", "--let-anyone-on-the-network-control-this-server"],
    );
    serve(&["--listen", "127.0.0.1:0", "--tls-cert", "a.pem"]).fails(2, &["belong together", "--access"]);
    serve(&["--access", "file"]).fails(2, &["belong together"]);
    let authority = Authority::new("Office CA").issue("127.0.0.1");
    let cert = ferrule.file("a.pem", &authority.certificate).display().to_string();
    let key = ferrule.file("a.key", &authority.key).display().to_string();
    let access = ferrule.file("access", format!("write token {WRITER}\n")).display().to_string();
    let guarded =
        |access: &str| serve(&["--listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key, "--access", access]);
    let answer = guarded(&access).fails(2, &["others can read the tokens", "chmod 600"]);
    assert!(!answer.err.contains(WRITER));
}
