//! What a guest finds around it: nothing but the folders that were granted.

use ferrule_host::{Around, CallError, Engine, EngineOptions};
use ferrule_model::Code;
use ferrule_model::capability::AbilityKind;

use crate::guests::{load, open, options, told};

#[tokio::test]
async fn a_guest_sees_only_granted_folders() {
    let around = tempfile::tempdir().unwrap();
    let folder = around.path().join("granted");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("file"), "content").unwrap();
    std::fs::write(around.path().join("outside"), "secret").unwrap();
    std::os::unix::fs::symlink(around.path().join("outside"), folder.join("link")).unwrap();
    let folder = folder.to_str().unwrap();
    let component = load("looks-around").await.unwrap();

    let mut nothing = component.instantiate(options(&[]).0).await.unwrap();
    let opened = open(&mut nothing, folder).await.unwrap();
    assert_eq!((told(&opened, "environment"), told(&opened, "arguments"), told(&opened, "input")), ("0", "0", "0"));
    assert_ne!(told(&opened, "read"), "content");
    assert_eq!(told(&opened, "socket"), "PermissionDenied");

    let mut reader = component.instantiate(options(&[(AbilityKind::Read, folder)]).0).await.unwrap();
    let opened = open(&mut reader, folder).await.unwrap();
    assert_eq!(told(&opened, "read"), "content");
    assert_ne!(told(&opened, "write"), "done");
    assert_eq!((told(&opened, "escape"), told(&opened, "link")), ("refused", "refused"));

    let mut writer = component.instantiate(options(&[(AbilityKind::Write, folder)]).0).await.unwrap();
    let opened = open(&mut writer, folder).await.unwrap();
    assert_eq!(told(&opened, "write"), "done");
    assert_eq!((told(&opened, "escape"), told(&opened, "link")), ("refused", "refused"));
}

#[tokio::test]
async fn sockets_of_wasi_reach_what_is_granted_and_nothing_else() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let port = listener.local_addr().unwrap().port();
    let named = format!("localhost:{port}");
    let component = load("looks-around").await.unwrap();
    for (granted, asked, socket) in [
        (address.as_str(), address.as_str(), "connected"),
        (&named, &named, "connected"),
        (&named, &address, "PermissionDenied"),
        ("127.0.0.1:9", &address, "PermissionDenied"),
        ("*:*", &address, "PermissionDenied"),
        ("*:*", "169.254.169.254:80", "PermissionDenied"),
    ] {
        let (options, recorder) = options(&[(AbilityKind::Tcp, granted)]);
        let mut instance = component.instantiate(options).await.unwrap();
        let opened = open(&mut instance, &format!("/ {asked}")).await.unwrap();
        assert_eq!(told(&opened, "socket"), socket, "{granted} {asked}: {:?}", recorder.events());
        assert!(recorder.has("at wasi:sockets/tcp"), "{:?}", recorder.events());
    }
    let (options, recorder) = options(&[(AbilityKind::Tcp, "*:80")]);
    let mut instance = component.instantiate(options).await.unwrap();
    let opened = open(&mut instance, "/ localhost:80").await.unwrap();
    assert_ne!(told(&opened, "socket"), "connected");
    assert!(recorder.has("denied resolve localhost:0 by not granted at wasi:sockets/ip-name-lookup"));
}

#[tokio::test]
async fn datagrams_go_where_they_are_granted() {
    let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = peer.local_addr().unwrap().to_string();
    let component = load("looks-around").await.unwrap();
    for (kind, granted, datagram) in [
        (AbilityKind::Udp, address.as_str(), "sent"),
        (AbilityKind::Udp, "127.0.0.1:9", "PermissionDenied"),
        (AbilityKind::Udp, "*:*", "PermissionDenied"),
        (AbilityKind::Tcp, &address, "PermissionDenied"),
    ] {
        let mut instance = component.instantiate(options(&[(kind, granted)]).0).await.unwrap();
        let opened = open(&mut instance, &format!("/ {address}")).await.unwrap();
        assert_eq!(told(&opened, "datagram"), datagram, "{kind} {granted}");
    }
}

#[tokio::test]
async fn variables_are_shown_by_name() {
    let environment = [("SHOWN", "yes"), ("HIDDEN", "no")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let around = Around { environment: environment.into(), ..Around::default() };
    let engine = Engine::new(EngineOptions { instances: 2, around, ..EngineOptions::default() }).unwrap();
    let component = engine.load(&crate::guests::bytes("looks-around")).await.unwrap();
    let (options, _) = options(&[(AbilityKind::Env, "SHOWN"), (AbilityKind::Env, "ABSENT")]);
    let mut instance = component.instantiate(options).await.unwrap();
    let opened = open(&mut instance, "/").await.unwrap();
    assert_eq!((told(&opened, "environment"), told(&opened, "shown")), ("1", "yes"));
}

#[tokio::test]
async fn a_granted_folder_that_is_not_there_is_told() {
    let component = load("looks-around").await.unwrap();
    match component.instantiate(options(&[(AbilityKind::Read, "/no/such/folder")]).0).await.unwrap_err() {
        CallError::Host { code: Code::Unreadable, message } => {
            assert!(message.contains("/no/such/folder"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}
