//! What a guest reaches, and what it is told when it may not.

use ferrule_host::{CallError, GuestErrorKind, Instance, Refusal};
use ferrule_model::Code;
use ferrule_model::capability::AbilityKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::guests::{load, open, options, session, told};

async fn instance(
    name: &str,
    abilities: &[(AbilityKind, &str)],
) -> (Instance, std::sync::Arc<crate::guests::Recorder>) {
    let (options, recorder) = options(abilities);
    (load(name).await.unwrap().instantiate(options).await.unwrap(), recorder)
}

fn refused<T: std::fmt::Debug>(answer: Result<T, CallError>) -> Refusal {
    match answer {
        Err(CallError::Refused { refusal, .. }) => *refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// A server that answers the first bytes of each connection.
async fn server(answer: &'static [u8]) -> (String, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 1024];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(answer).await;
        }
    });
    (address.to_string(), address.port())
}

#[tokio::test]
async fn what_is_granted_is_reached() {
    let (address, port) = server(b"welcome").await;
    for (grant, asked) in
        [(address.clone(), address.clone()), (format!("localhost:{port}"), format!("localhost:{port}"))]
    {
        let (mut instance, recorder) = instance("opens-host", &[(AbilityKind::Tcp, &grant)]).await;
        let opened = open(&mut instance, &asked).await.unwrap();
        assert_eq!(told(&opened, "said"), "\"welcome\"");
        assert_eq!(instance.refusals(), 0);
        assert!(recorder.has("allowed tcp"));
    }
}

#[tokio::test]
async fn what_is_not_granted_is_refused_with_what_to_write() {
    let (address, port) = server(b"").await;
    let (mut instance, recorder) = instance("opens-host", &[(AbilityKind::Tcp, "broker.example.com:1883")]).await;
    let refusal = refused(open(&mut instance, &address).await);
    assert_eq!(refusal.port, port);
    assert!(refusal.message.contains("`meter`") && refusal.message.contains(&address), "{refusal}");
    assert!(
        refusal.remedy.contains(&format!("class: naughty\n  allow:\n    - tcp: \"{address}\"")),
        "{}",
        refusal.remedy
    );
    assert!(recorder.has(&format!("denied tcp {address}")), "{:?}", recorder.events());
    assert_eq!(instance.refusals(), 1);
}

#[tokio::test]
async fn this_machine_is_not_reached_by_wildcard_name_or_other_spelling() {
    let (_, port) = server(b"").await;
    for host in ["localhost", "127.0.0.1", "::1", "::ffff:127.0.0.1", "127.1.2.3", "sub.localhost", "0.0.0.0", "[::]"] {
        let (mut instance, _) = instance("opens-host", &[(AbilityKind::Tcp, "*:*"), (AbilityKind::Http, "*:*")]).await;
        refused(open(&mut instance, &format!("{host}:{port}")).await);
    }
    for host in ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "224.0.0.1"] {
        let (mut instance, _) = instance("opens-host", &[(AbilityKind::Tcp, "*:*")]).await;
        assert!(refused(open(&mut instance, &format!("{host}:80")).await).remedy.starts_with("No grant"), "{host}");
    }
    for host in ["127.1", "0x7f000001", "2130706433", "a b", ""] {
        let (mut instance, _) = instance("opens-host", &[(AbilityKind::Tcp, "*:*")]).await;
        let error = open(&mut instance, &format!("{host}:80")).await.unwrap_err();
        assert!(
            matches!(&error, CallError::Guest(error) if error.kind == GuestErrorKind::Invalid),
            "{host}: {error:?}"
        );
        assert_eq!(error.code(), Code::GuestInvalid);
    }
}

#[tokio::test]
async fn names_are_looked_up_only_where_granted() {
    let (mut granted, _) = instance("resolves-name", &[(AbilityKind::Resolve, "localhost")]).await;
    assert!(told(&open(&mut granted, "localhost").await.unwrap(), "addresses").contains("127.0.0.1"));
    let (mut wild, _) = instance("resolves-name", &[(AbilityKind::Resolve, "*")]).await;
    refused(open(&mut wild, "localhost").await);
    let (mut none, _) = instance("resolves-name", &[]).await;
    let refusal = refused(open(&mut none, "example.com").await);
    assert!(refusal.remedy.contains("resolve: \"example.com\""), "{}", refusal.remedy);
}

#[tokio::test]
async fn http_goes_through_the_same_gate() {
    let (address, _) = server(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let (mut granted, recorder) = instance("sends-http", &[(AbilityKind::Http, &address)]).await;
    assert_eq!(told(&open(&mut granted, &address).await.unwrap(), "status"), "204");
    assert!(recorder.has("allowed http"));

    // An ability for tcp is none for http.
    let (mut other, _) = instance("sends-http", &[(AbilityKind::Tcp, &address)]).await;
    let refusal = refused(open(&mut other, &address).await);
    assert!(refusal.remedy.contains(&format!("http: \"{address}\"")), "{}", refusal.remedy);

    // A redirect is the guest's to follow, by a request of its own.
    let (redirects, _) = server(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n").await;
    let (mut redirected, recorder) = instance("sends-http", &[(AbilityKind::Http, &redirects)]).await;
    assert_eq!(told(&open(&mut redirected, &redirects).await.unwrap(), "status"), "302");
    assert!(recorder.events().iter().all(|event| !event.contains("169.254")), "{:?}", recorder.events());
}

#[tokio::test]
async fn requests_leave_no_handles_behind() {
    let (address, _) = server(b"HTTP/1.1 204 No Content\r\n\r\n").await;
    let (mut options, _) = options(&[(AbilityKind::Http, &address)]);
    options.limits.handles = 50;
    let mut instance = load("sends-http").await.unwrap().instantiate(options).await.unwrap();
    // A hundred of them, each with options of its own.
    let session = ferrule_host::Session { config: "\"often\"".into(), ..session(&address) };
    assert_eq!(told(&instance.open(session).await.unwrap(), "status"), "204");
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let (mut instance, _) = instance("opens-host", &[(AbilityKind::Tcp, &address)]).await;
    let error = open(&mut instance, &address).await.unwrap_err();
    assert!(matches!(&error, CallError::Guest(error) if error.kind == GuestErrorKind::Unavailable), "{error:?}");
    assert_eq!(error.code(), Code::GuestUnavailable);
}
