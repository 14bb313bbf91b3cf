//! What a guest finds around it: nothing but the folders that were granted.

use ferrule_host::CallError;
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
async fn a_granted_socket_of_wasi_is_still_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let component = load("looks-around").await.unwrap();
    let mut instance = component.instantiate(options(&[(AbilityKind::Tcp, &address)]).0).await.unwrap();
    assert_eq!(told(&open(&mut instance, &format!("/ {address}")).await.unwrap(), "socket"), "PermissionDenied");
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
