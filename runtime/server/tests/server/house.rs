//! A server for one test, and what tests do with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ferrule_api::report::{Action, Applied, AppliedObject, StatusReport, StoredObject};
use ferrule_api::request::{Application, Document, Query, Registration, StatusQuery};
use ferrule_api::{Client, Error, Platform};
use ferrule_model::{Code, Kind};
use ferrule_server::{Options, Server};
use tempfile::TempDir;

/// How long anything in these tests may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct House {
    pub(crate) server: Server,
    pub(crate) client: Client,
    pub(crate) folder: TempDir,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap()).await
    }

    pub(crate) async fn at(folder: TempDir) -> Self {
        let mut options = Options::new(folder.path().join("data"));
        options.metrics = Some("127.0.0.1:0".parse().unwrap());
        let server = Server::start(options).await.unwrap();
        let client = server.client().await.unwrap();
        Self { server, client, folder }
    }

    /// Stops the server and starts another one on the same folder.
    pub(crate) async fn again(self) -> Self {
        let Self { server, folder, .. } = self;
        server.stop().await;
        Self::at(folder).await
    }

    pub(crate) async fn apply(&self, text: &str) -> Result<Applied, Error> {
        self.client.apply(application(text)).await
    }

    pub(crate) async fn register(&self, name: &str) {
        let content = guest(name);
        let registration = Registration { content, file: format!("{name}.wasm"), ..Registration::default() };
        self.client.register(registration).await.unwrap();
    }

    pub(crate) async fn get(&self, kind: Kind) -> Vec<StoredObject> {
        self.client.get(Query { kind: Some(kind), ..Query::default() }).await.unwrap()
    }

    pub(crate) async fn one(&self, kind: Kind, name: &str) -> Result<StoredObject, Error> {
        let query = Query { kind: Some(kind), names: vec![name.to_owned()], ..Query::default() };
        Ok(self.client.get(query).await?.remove(0))
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&StatusReport) -> bool) -> StatusReport {
        let mut reports = self.client.watch_status(StatusQuery::default(), Duration::from_millis(100)).await.unwrap();
        let mut last = None;
        let found = tokio::time::timeout(DEADLINE, async {
            while let Some(report) = futures_util::StreamExt::next(&mut reports).await {
                let report = report.unwrap();
                if wanted(&report) {
                    return report;
                }
                last = Some(report);
            }
            panic!("the status ended")
        })
        .await;
        found.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}; the last status was {last:#?}"))
    }
}

pub(crate) fn application(text: &str) -> Application {
    let document = Document { name: "a.yaml".to_owned(), content: text.as_bytes().to_vec(), ..Document::default() };
    Application { documents: vec![document], ..Application::default() }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A shipped guest, as `cargo xtask guests` built it.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let path = root().join("target/guests").join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("no {}: {error}; run cargo xtask guests", path.display()))
}

/// The codes of what was refused, in order.
pub(crate) fn codes<T: std::fmt::Debug>(outcome: Result<T, Error>) -> Vec<Code> {
    match outcome.unwrap_err() {
        Error::Refused(all) => all.iter().filter(|diagnostic| diagnostic.is_error()).map(|d| d.code).collect(),
        error => panic!("{error}"),
    }
}

pub(crate) fn actions(objects: &[AppliedObject]) -> Vec<(String, Action)> {
    objects.iter().map(|object| (format!("{}/{}", object.kind.nouns()[0], object.name), object.action)).collect()
}
