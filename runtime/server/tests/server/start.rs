//! What a server needs to start, and what it says if it does not have it.

use ferrule_api::Platform;
use ferrule_server::{Listen, Options, Server, StartError};

use crate::house::House;

#[tokio::test(flavor = "multi_thread")]
async fn one_folder_has_one_server() {
    let house = House::new().await;
    let error = Server::start(Options::embedded(house.folder.path().join("data"))).await.unwrap_err();
    assert!(matches!(error, StartError::Store(_)), "{error}");
    assert!(error.to_string().contains("in use by another server"), "{error}");
    // The socket of the first one is still there.
    assert_eq!(house.client.version().await.unwrap().version, env!("CARGO_PKG_VERSION"));
    let house = house.again().await;
    house.client.version().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_told_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::embedded(folder.path());
    options.metrics = Some(taken.local_addr().unwrap());
    let error = Server::start(options).await.unwrap_err().to_string();
    assert!(error.contains("metrics") && error.contains("--metrics"), "{error}");

    let mut options = Options::embedded(folder.path());
    options.socket = Some(folder.path().join("x".repeat(200)));
    let error = Server::start(options).await.unwrap_err().to_string();
    assert!(error.contains("too long") && error.contains("--socket"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_left_behind_is_no_hindrance_and_another_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { metrics: None, ..Options::new(folder.path()) };
    let socket = folder.path().join("ferrule.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let server = Server::start(options.clone()).await.unwrap();
    server.client().await.unwrap().version().await.unwrap();
    assert!(server.stop().await);
    assert!(!socket.exists());

    std::fs::write(&socket, "precious").unwrap();
    let error = Server::start(options).await.unwrap_err().to_string();
    assert!(error.contains("something else is there"), "{error}");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "precious");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_server_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let address = ferrule_api::Address::Unix(folder.path().join("none.sock"));
    let error = ferrule_api::Client::connect(address).await.unwrap_err();
    assert!(matches!(error, ferrule_api::Error::NoServer { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn its_health_is_told_as_grpc_has_it() {
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
    let folder = tempfile::tempdir().unwrap();
    let listen = Some(Listen { address: "127.0.0.1:0".parse().unwrap(), guard: None, open: false });
    let server = Server::start(Options { metrics: None, listen, ..Options::new(folder.path()) }).await.unwrap();
    let address = format!("http://{}", server.grpc_address().unwrap());
    let channel = tonic::transport::Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let answer = HealthClient::new(channel).check(HealthCheckRequest { service: String::new() }).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    server.stop().await;
}
