//! Encrypted connections and attached credentials, from the guest to a server of the test: the guest never sees what is secret.

use std::sync::{Arc, Mutex};

use ferrule_host::{Attached, Attachment, Authorization, CallError, Instance, Keys, Opened, Session};
use ferrule_model::Code;
use ferrule_model::capability::{Ability, AbilityKind};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::guests::{Recorder, load, open, options, session, told};

/// It must not be found anywhere but at the server.
const CANARY: &str = "canary-7f3a9";

/// A server with a certificate of its own, and what it heard, in bytes.
struct Server {
    port: u16,
    roots: Vec<u8>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// One that answers `answer` to a greeting or request, and says goodbye; without an answer it just goes.
    async fn start(encrypted: bool, answer: &'static [u8]) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = heard.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, log) = (acceptor.clone(), log.clone());
                tokio::spawn(async move {
                    if encrypted {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        serve(stream, &log, answer).await;
                    } else {
                        serve(stream, &log, answer).await;
                    }
                });
            }
        });
        Self { port, roots: certificate.pem().into_bytes(), heard }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn ability(&self, kind: AbilityKind) -> Ability {
        Ability::parse(kind, &self.address()).unwrap()
    }

    fn trusted(&self) -> Attached {
        Attached { roots: Some(self.roots.clone()), ..Attached::default() }
    }

    /// What it heard last.
    fn last(&self) -> String {
        self.heard.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, log: &Mutex<Vec<String>>, answer: &[u8]) {
    let mut heard = Vec::new();
    let mut part = vec![0; 64 << 10];
    while let Ok(read @ 1..) = stream.read(&mut part).await {
        heard.extend_from_slice(&part[..read]);
        if is_whole(&heard) {
            break;
        }
    }
    log.lock().unwrap().push(String::from_utf8_lossy(&heard).into_owned());
    if answer.is_empty() {
        return;
    }
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
}

/// A greeting, or a request with its body.
fn is_whole(heard: &[u8]) -> bool {
    let text = String::from_utf8_lossy(heard);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return text == "hello" };
    let head = head.to_lowercase();
    match head.split_once("content-length: ") {
        Some((_, length)) => body.len() >= length.split("\r\n").next().unwrap().parse::<usize>().unwrap(),
        None => !head.contains("transfer-encoding: chunked") || body.ends_with("0\r\n\r\n"),
    }
}

const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

async fn guest(
    name: &str,
    abilities: &[(AbilityKind, &str)],
    attached: Vec<(Ability, Attached)>,
) -> (Instance, Arc<Recorder>) {
    let (mut options, recorder) = options(abilities);
    options.attached = attached.into_iter().map(|(to, attached)| Attachment::new(to, attached).unwrap()).collect();
    (load(name).await.unwrap().instantiate(options).await.unwrap(), recorder)
}

async fn configured(instance: &mut Instance, address: &str, config: &str) -> Result<Opened, CallError> {
    instance.open(Session { config: format!("{config:?}"), ..session(address) }).await
}

#[tokio::test]
async fn a_guest_talks_over_tls_that_the_host_makes() {
    let server = Server::start(true, b"welcome").await;
    let address = server.address();
    for granted in [AbilityKind::Tls, AbilityKind::Tcp] {
        let attached = vec![(server.ability(AbilityKind::Tls), server.trusted())];
        let (mut instance, recorder) = guest("opens-host", &[(granted, &address)], attached).await;
        assert_eq!(told(&configured(&mut instance, &address, "tls").await.unwrap(), "said"), "\"welcome\"");
        assert_eq!(server.last(), "hello");
        assert!(recorder.has("allowed tls"), "{:?}", recorder.events());
    }
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_unavailable_and_the_words_say_why() {
    let server = Server::start(true, b"welcome").await;
    let address = server.address();
    let (mut instance, _) = guest("opens-host", &[(AbilityKind::Tls, &address)], Vec::new()).await;
    let error = configured(&mut instance, &address, "tls").await.unwrap_err();
    assert_eq!(error.code(), Code::GuestUnavailable);
    let text = error.to_string();
    assert!(text.contains("not trusted") && text.contains("[FE0408]") && text.contains("class: naughty"), "{text}");

    let (mut instance, _) = guest("sends-http", &[(AbilityKind::Https, &address)], Vec::new()).await;
    let text = configured(&mut instance, &address, "https").await.unwrap_err().to_string();
    assert!(text.contains("not trusted") && text.contains("[FE0408]"), "{text}");
}

#[tokio::test]
async fn what_may_be_cut_short_is_not_taken_for_the_end() {
    let server = Server::start(true, b"").await;
    let address = server.address();
    let attached = vec![(server.ability(AbilityKind::Tls), server.trusted())];
    let (mut instance, _) = guest("opens-host", &[(AbilityKind::Tls, &address)], attached).await;
    let error = configured(&mut instance, &address, "tls").await.unwrap_err();
    assert_eq!(error.code(), Code::GuestFailed, "{error}");
}

#[tokio::test]
async fn a_grant_of_tls_is_none_for_what_everybody_can_read() {
    let server = Server::start(false, b"welcome").await;
    let address = server.address();
    let (mut instance, _) = guest("opens-host", &[(AbilityKind::Tls, &address)], Vec::new()).await;
    assert!(matches!(open(&mut instance, &address).await, Err(CallError::Refused { .. })));
    assert_eq!(server.last(), "");
}

/// Sends one request with this attached, and gives what the server heard.
async fn heard(server: &Server, authorization: Authorization, words: &str) -> Result<String, CallError> {
    let address = server.address();
    let kind = if words.contains("https") { AbilityKind::Https } else { AbilityKind::Http };
    let roots = (kind == AbilityKind::Https).then(|| server.roots.clone());
    let attached = Attached { roots, authorization: Some(authorization), ..Attached::default() };
    let (mut instance, recorder) =
        guest("sends-http", &[(kind, &address)], vec![(server.ability(kind), attached)]).await;
    let answer = configured(&mut instance, &address, words).await;
    let seen = format!("{answer:?} {:?}", recorder.events());
    assert!(!seen.contains(CANARY), "the guest saw it: {seen}");
    assert_eq!(told(&answer?, "status"), "204");
    Ok(server.last())
}

#[tokio::test]
async fn credentials_are_put_on_requests_and_the_guest_never_sees_them() {
    for (encrypted, words) in [(true, "https"), (false, "http")] {
        let server = Server::start(encrypted, NO_CONTENT).await;
        let bearer = heard(&server, Authorization::Bearer(CANARY.into()), words).await.unwrap();
        assert!(bearer.contains(&format!("\r\nauthorization: Bearer {CANARY}\r\n")), "{bearer}");
        let basic = Authorization::Basic { user: "me".into(), password: "open sesame".into() };
        let basic = heard(&server, basic, words).await.unwrap();
        assert!(basic.contains("\r\nauthorization: Basic bWU6b3BlbiBzZXNhbWU=\r\n"), "{basic}");
        let header = Authorization::Header { name: "X-Api-Key".into(), value: CANARY.into() };
        let header = heard(&server, header, words).await.unwrap();
        assert!(header.contains(&format!("\r\nx-api-key: {CANARY}\r\n")), "{header}");
    }
}

#[tokio::test]
async fn a_guest_that_sets_the_same_header_is_refused() {
    let server = Server::start(true, NO_CONTENT).await;
    let error = heard(&server, Authorization::Bearer(CANARY.into()), "https header").await.unwrap_err().to_string();
    assert!(error.contains("`authorization`") && error.contains("leave it out"), "{error}");
    assert_eq!(server.last(), "");
}

#[tokio::test]
async fn credentials_go_to_no_other_place() {
    let (meant, other) = (Server::start(true, NO_CONTENT).await, Server::start(true, NO_CONTENT).await);
    let attached = Attached { authorization: Some(Authorization::Bearer(CANARY.into())), ..meant.trusted() };
    let attached =
        vec![(meant.ability(AbilityKind::Https), attached), (other.ability(AbilityKind::Https), other.trusted())];
    // A redirect is a request of its own, so it gets what is attached for where it goes.
    let (mut instance, _) = guest("sends-http", &[(AbilityKind::Https, &other.address())], attached).await;
    configured(&mut instance, &other.address(), "https").await.unwrap();
    assert!(other.last().starts_with("GET /path?query") && !other.last().contains("authorization"), "{}", other.last());
}

fn aws(service: &str) -> Authorization {
    Authorization::SigV4(Keys {
        region: "eu-central-1".into(),
        service: service.into(),
        access_key: "AKIDEXAMPLE".into(),
        secret_key: CANARY.into(),
        session_token: Some("temporary".into()),
    })
}

#[tokio::test]
async fn requests_are_signed_for_aws_with_their_bodies() {
    for (encrypted, words) in [(true, "https body=5000"), (false, "http body=5000")] {
        let server = Server::start(encrypted, NO_CONTENT).await;
        let request = heard(&server, aws("sqs"), words).await.unwrap();
        for part in [
            "POST /path?query HTTP/1.1\r\n",
            "authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/",
            "/eu-central-1/sqs/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token, Signature=",
            "x-amz-security-token: temporary\r\n",
            "content-length: 5000\r\n",
        ] {
            assert!(request.contains(part), "`{part}` is not in {:.800}", request);
        }
        assert!(request.ends_with(&"x".repeat(5000)) && !request.contains(CANARY));
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_to_hash_goes_unsigned_to_s3_over_tls_and_nowhere_else() {
    let (open, encrypted) = (Server::start(false, NO_CONTENT).await, Server::start(true, NO_CONTENT).await);
    let request = heard(&encrypted, aws("s3"), "https body=2000000").await.unwrap();
    assert!(request.contains("x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n"), "{:.800}", request);
    assert!(request.matches('x').count() > 2_000_000);
    for (server, service, words) in [(&open, "s3", "http body=2000000"), (&encrypted, "sqs", "https body=2000000")] {
        let error = heard(server, aws(service), words).await.unwrap_err().to_string();
        assert!(error.contains("HttpRequestBodySize") || error.contains("http-request-body-size"), "{error}");
    }
    assert_eq!(open.last(), "");
}
