//! Handshakes with servers of this test's own making: what is accepted, and what is said of what is not.

use std::sync::Arc;

use ferrule_model::capability::{Ability, AbilityKind};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::guest::{GrantHint, Identity};
use crate::network::gate::{Door, Gate};
use crate::observer::Unobserved;

/// An authority that issues certificates.
pub(crate) struct Authority {
    pub(crate) certificate: CertifiedIssuer<'static, KeyPair>,
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named(name);
        Self { certificate: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub(crate) fn pem(&self) -> Vec<u8> {
        self.certificate.pem().into_bytes()
    }

    /// A certificate for this name and its key, as PEM.
    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (Vec<u8>, Vec<u8>) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = named(name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.certificate).unwrap();
        (certificate.pem().into_bytes(), key.serialize_pem().into_bytes())
    }
}

fn server_config((chain, key): &(Vec<u8>, Vec<u8>), clients: Option<&Authority>, tls12: bool) -> ServerConfig {
    let versions: &[_] = if tls12 { &[&rustls::version::TLS12] } else { &[&rustls::version::TLS13] };
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
    let builder = match clients {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let chain = CertificateDer::pem_slice_iter(chain).map(Result::unwrap).collect();
    let mut config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key).unwrap()).unwrap();
    config.alpn_protocols = vec![b"mqtt".to_vec()];
    config
}

/// A server that says what it hears, in each connection.
async fn echo(config: ServerConfig) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut heard = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut heard).await {
                    if stream.write_all(&heard[..read]).await.is_err() {
                        return;
                    }
                }
                let _ = stream.shutdown().await;
            });
        }
    });
    port
}

fn gate(port: u16, attached: Option<Attached>) -> Arc<Gate> {
    let at = |kind| Ability::parse(kind, &format!("127.0.0.1:{port}")).unwrap();
    Arc::new(Gate::new(
        Identity {
            name: "meter".into(),
            hint: GrantHint { class: "mqtt".into() },
            rules: vec![at(AbilityKind::Tcp)].into(),
            asked: Vec::new(),
            redactor: Default::default(),
            observer: Arc::new(Unobserved),
            around: Arc::default(),
            tls: Tls::default(),
            attached: attached
                .map(|attached| Attachment::new(at(AbilityKind::Tls), attached).unwrap())
                .into_iter()
                .collect(),
            component: String::new(),
            guards: Default::default(),
        },
        &Default::default(),
    ))
}

/// What comes of a handshake and one exchange.
async fn exchange(port: u16, attached: Option<Attached>, options: TlsOptions) -> Result<(), String> {
    let gate = gate(port, attached);
    let destination = gate.check_name(Door::Net, AbilityKind::Tls, "127.0.0.1", port).unwrap();
    let stream = gate.dial(&destination).await.unwrap();
    let (stream, talk) =
        gate.encrypt(&destination, &options, stream).await.map_err(|failure| failure.message().to_owned())?;
    let (stream, tls) = stream.into_inner();
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    let session = Session::new(tls, talk);
    let exchanged = tokio::task::spawn_blocking(move || {
        session.write(&stream, b"hello")?;
        let mut heard = [0; 100];
        let read = session.read(&stream, &mut heard[..5])?;
        Ok::<_, std::io::Error>(heard[..read].to_vec())
    });
    match exchanged.await.unwrap() {
        Ok(heard) => {
            assert_eq!(heard, b"hello");
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn trusting_only(authority: &Authority) -> Option<Attached> {
    Some(Attached { roots: Some(authority.pem()), ..Attached::default() })
}

#[track_caller]
fn says(answer: Result<(), String>, parts: &[&str]) {
    let text = answer.unwrap_err();
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    assert!(text.contains("[FE0408]") && !text.contains('\n'), "{text}");
}

#[tokio::test]
async fn a_server_of_a_trusted_authority_is_talked_to_in_both_versions() {
    let authority = Authority::new("Plant CA");
    for tls12 in [false, true] {
        let port = echo(server_config(&authority.issue("127.0.0.1", |_| ()), None, tls12)).await;
        let options = TlsOptions { protocols: vec!["mqtt".into()], ..TlsOptions::default() };
        exchange(port, trusting_only(&authority), options).await.unwrap();
    }
}

#[tokio::test]
async fn another_authority_is_named() {
    let (authority, other) = (Authority::new("Plant CA"), Authority::new("Other CA"));
    let port = echo(server_config(&authority.issue("127.0.0.1", |_| ()), None, false)).await;
    let to = format!("attach: [{{to: {{tls: \"127.0.0.1:{port}\"}}, roots:");
    says(
        exchange(port, trusting_only(&other), TlsOptions::default()).await,
        &["`CN=Plant CA`", "none of the `roots`", &to],
    );
    // The system does not trust it either.
    says(exchange(port, None, TlsOptions::default()).await, &["`CN=Plant CA`", "this machine does not trust"]);
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_told_with_the_date() {
    let authority = Authority::new("Plant CA");
    let expired = authority.issue("127.0.0.1", |params| {
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 2, 3));
    });
    let port = echo(server_config(&expired, None, false)).await;
    says(exchange(port, trusting_only(&authority), TlsOptions::default()).await, &["expired at 2021-02-03"]);
    let early = authority.issue("127.0.0.1", |params| params.not_before = date_time_ymd(2090, 1, 1));
    let port = echo(server_config(&early, None, false)).await;
    says(exchange(port, trusting_only(&authority), TlsOptions::default()).await, &["valid from 2090-01-01", "clock"]);
}

#[tokio::test]
async fn a_wrong_name_is_told_with_those_that_there_are() {
    let authority = Authority::new("Plant CA");
    let port = echo(server_config(&authority.issue("broker.plant.example", |_| ()), None, false)).await;
    let wrong = exchange(port, trusting_only(&authority), TlsOptions::default()).await;
    says(wrong, &["not for `127.0.0.1`", "broker.plant.example", "serverName"]);
    // The guest may say which name is meant where it proves nothing, and the operator always.
    let name = Some("broker.plant.example".to_owned());
    let options = TlsOptions { server_name: name.clone(), ..TlsOptions::default() };
    exchange(port, trusting_only(&authority), options).await.unwrap();
    let set = Attached { server_name: name, ..trusting_only(&authority).unwrap() };
    exchange(port, Some(set), TlsOptions::default()).await.unwrap();
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_attached_and_asked_for_where_none_is() {
    let (authority, clients, others) =
        (Authority::new("Plant CA"), Authority::new("Clients CA"), Authority::new("Others CA"));
    for tls12 in [false, true] {
        let port = echo(server_config(&authority.issue("127.0.0.1", |_| ()), Some(&clients), tls12)).await;
        let trust = trusting_only(&authority).unwrap();
        says(
            exchange(port, Some(trust.clone()), TlsOptions::default()).await,
            &["requires a client certificate", "certificate: {secret"],
        );
        let shown = Attached { certificate: Some(clients.issue("meter", |_| ())), ..trust.clone() };
        exchange(port, Some(shown.clone()), TlsOptions::default()).await.unwrap();
        let wrong = Attached { certificate: Some(others.issue("meter", |_| ())), ..trust };
        says(exchange(port, Some(wrong), TlsOptions::default()).await, &["does not accept the client certificate"]);
        // Whoever proves something does not choose to whom.
        let options = TlsOptions { server_name: Some("elsewhere.example".into()), ..TlsOptions::default() };
        let error = exchange(port, Some(shown), options).await.unwrap_err();
        assert!(error.contains("not the guest's to choose"), "{error}");
    }
}

#[tokio::test]
async fn what_speaks_no_tls_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut answers = [b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), b""].into_iter();
        while let (Ok((mut stream, _)), Some(answer)) = (listener.accept().await, answers.next()) {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer).await;
        }
    });
    says(exchange(port, None, TlsOptions::default()).await, &["does not speak TLS"]);
    says(exchange(port, None, TlsOptions::default()).await, &["ended the connection during the TLS handshake"]);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let read = |protocols: &[&str], properties: &[(&str, &str)]| {
        let properties: Vec<_> = properties.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        TlsOptions::read(None, protocols.iter().map(|name| (*name).to_owned()).collect(), &properties)
    };
    assert!(read(&["mqtt"], &[]).is_ok());
    assert!(matches!(read(&[""], &[]), Err(Failure::Invalid(_))));
    assert!(
        matches!(read(&[], &[("insecure", "true")]), Err(Failure::Unsupported(text)) if text.contains("`insecure`"))
    );
}

#[test]
fn what_cannot_be_attached_is_told_without_what_is_secret() {
    let authority = Authority::new("Plant CA");
    let to = |kind, target: &str| Ability::parse(kind, target).unwrap();
    let place = to(AbilityKind::Tls, "broker.example:8883");
    let (chain, key) = authority.issue("meter", |_| ());
    let (_, other) = authority.issue("meter", |_| ());
    let wrong = |to, attached| Attachment::new(to, attached).unwrap_err();
    let pair = |chain: &[u8], key: &[u8]| Attached {
        certificate: Some((chain.to_vec(), key.to_vec())),
        ..Attached::default()
    };
    Attachment::new(place.clone(), pair(&chain, &key)).unwrap();
    assert_eq!(wrong(place.clone(), pair(&chain, &other)).detail, "it does not belong to the certificate");
    assert_eq!(wrong(place.clone(), pair(b"canary", &key)).field, "certificate");
    assert_eq!(wrong(place.clone(), pair(&chain, b"canary")).field, "key");
    let roots = Attached { roots: Some(b"canary".to_vec()), ..Attached::default() };
    assert_eq!(wrong(place.clone(), roots).field, "roots");
    let bearer =
        |token: &str| Attached { authorization: Some(Authorization::Bearer(token.to_owned())), ..Attached::default() };
    let error = wrong(to(AbilityKind::Https, "api.example:443"), bearer("canary\n"));
    assert!(!error.to_string().contains("canary"), "{error}");
    for (kind, target) in [
        (AbilityKind::Tls, "*.example:8883"),
        (AbilityKind::Tls, "broker.example:*"),
        (AbilityKind::Tcp, "broker.example:8883"),
        (AbilityKind::Http, "api.example:80"),
    ] {
        assert_eq!(wrong(to(kind, target), bearer("token")).field, "to", "{target}");
    }
    Attachment::new(to(AbilityKind::Http, "127.0.0.1:80"), bearer("token")).unwrap();
    let two =
        [bearer("one"), bearer("two"), bearer("one")].map(|attached| Attachment::new(place.clone(), attached).unwrap());
    assert!(two[0] == two[2] && two[0] != two[1]);
}

#[tokio::test]
async fn an_encrypted_connection_holds_back_and_ends_as_a_plain_one_does() {
    use bytes::Bytes;
    use wasmtime_wasi::p2::{Pollable as _, StreamError};

    let authority = Authority::new("Plant CA");
    for tls12 in [false, true] {
        let port = echo(server_config(&authority.issue("127.0.0.1", |_| ()), None, tls12)).await;
        let gate = gate(port, trusting_only(&authority));
        let mut connecting =
            crate::network::Connecting::start(&gate, "127.0.0.1", port, Some(TlsOptions::default())).unwrap();
        connecting.ready().await;
        let mut connection = connecting.finish().unwrap().unwrap();
        let (mut input, mut output) = (connection.take_input().unwrap(), connection.take_output().unwrap());
        // Until nobody takes any more: the echo is not read.
        let mut sent = Vec::new();
        let byte = |at: usize| (at % 251) as u8;
        while let room @ 1.. = output.check_write().unwrap() {
            let part: Vec<u8> = (sent.len()..sent.len() + room).map(byte).collect();
            sent.extend_from_slice(&part);
            output.write(Bytes::from(part)).unwrap();
        }
        let mut heard = Vec::new();
        while heard.len() < sent.len() {
            input.ready().await;
            heard.extend_from_slice(&input.read(100_000).unwrap());
        }
        assert!(heard == sent, "{} bytes came back of {}", heard.len(), sent.len());
        output.ready().await;
        assert!(output.check_write().unwrap() > 0);
        drop(output);
        input.ready().await;
        assert!(matches!(input.read(10), Err(StreamError::Closed)));
    }
}
