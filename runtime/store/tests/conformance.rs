//! Both stores keep the promise.

use ferrule_store::{EmbeddedOptions, EmbeddedStore, MemoryStore, conformance};

#[tokio::test]
async fn the_memory_store_conforms() {
    conformance::run(|| async { MemoryStore::with_tombstones(conformance::TOMBSTONES) }).await;
}

#[tokio::test]
async fn the_embedded_store_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    conformance::run(|| {
        count.set(count.get() + 1);
        let path = folder.path().join(format!("{}.redb", count.get()));
        let options = EmbeddedOptions { tombstones: conformance::TOMBSTONES };
        async move { EmbeddedStore::open_with(path, options).await.unwrap() }
    })
    .await;
}
