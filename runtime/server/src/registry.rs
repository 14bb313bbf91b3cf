//! The components that this server keeps: files by digest, checked before they are kept and again when they are read.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use ferrule_control::ComponentSource;
use ferrule_host::{Component, Engine, LoadError};
use ferrule_model::{Code, Diagnostic};

use crate::folder::write_durably;

/// The components that are kept; cheap to clone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    folder: PathBuf,
    compiled: PathBuf,
    loaded: RwLock<HashMap<String, Component>>,
    /// Held while a file is compiled, so that two callers do not compile the same one and the machine keeps a processor
    /// for the streams that run.
    compiling: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("folder", &self.inner.folder).finish_non_exhaustive()
    }
}

impl Registry {
    pub(crate) fn new(engine: Engine, folder: PathBuf, compiled: PathBuf) -> Self {
        Self {
            inner: Arc::new(Inner {
                engine,
                folder,
                compiled,
                loaded: RwLock::default(),
                compiling: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// Whether it is a component that runs here, and what it is. `file` is what its user calls it. Keeps nothing but the
    /// compiled form.
    pub async fn check(&self, file: &str, bytes: &[u8]) -> Result<Component, Diagnostic> {
        let _one = self.inner.compiling.lock().await;
        self.inner
            .engine
            .load_with_cache(bytes, &self.inner.compiled)
            .await
            .map_err(|error| describe(&error).in_document(file))
    }

    /// Writes the file of a component that was checked; durable when it returns. A file that is there already stays.
    pub async fn keep(&self, component: &Component, bytes: Vec<u8>) -> io::Result<()> {
        let digest = component.digest().to_owned();
        let path = self.path(&digest);
        tokio::task::spawn_blocking(move || match std::fs::read(&path) {
            Ok(found) if found == bytes => Ok(()),
            _ => write_durably(&path, &bytes),
        })
        .await
        .map_err(io::Error::other)??;
        self.remember(component);
        Ok(())
    }

    /// The component with this digest: from memory, or from its file, which is checked again.
    pub async fn component(&self, digest: &str) -> Result<Component, Diagnostic> {
        if let Some(component) = self.loaded(digest) {
            return Ok(component);
        }
        let _one = self.inner.compiling.lock().await;
        if let Some(component) = self.loaded(digest) {
            return Ok(component);
        }
        let path = self.path(digest);
        let bytes = tokio::fs::read(&path).await.map_err(|error| unreadable(&path, digest, &error))?;
        let broken = |found: String| {
            Diagnostic::new(Code::ComponentBroken, format!("the file of component {digest} is not what was registered"))
                .in_document(path.display().to_string())
                .expected(digest)
                .found(found)
                .help("register the component again from its own file")
        };
        let loaded = self.inner.engine.load_with_cache(&bytes, &self.inner.compiled).await;
        let component = loaded.map_err(|error| broken(error.to_string()))?;
        if component.digest() != digest {
            return Err(broken(component.digest().to_owned()));
        }
        self.remember(&component);
        Ok(component)
    }

    /// The component with this digest, if it was used since the start.
    pub fn loaded(&self, digest: &str) -> Option<Component> {
        self.inner.loaded.read().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    /// Deletes the file.
    pub(crate) async fn forget(&self, digest: &str) -> io::Result<()> {
        self.inner.loaded.write().unwrap_or_else(PoisonError::into_inner).remove(digest);
        match tokio::fs::remove_file(self.path(digest)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn remember(&self, component: &Component) {
        let mut loaded = self.inner.loaded.write().unwrap_or_else(PoisonError::into_inner);
        loaded.entry(component.digest().to_owned()).or_insert_with(|| component.clone());
    }

    fn path(&self, digest: &str) -> PathBuf {
        // Digests come from stored objects, which people can write: keep to the characters of a file name.
        let name: String = digest.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        self.inner.folder.join(format!("{name}.wasm"))
    }
}

#[async_trait]
impl ComponentSource for Registry {
    async fn component(&self, digest: &str) -> Result<Component, Diagnostic> {
        Registry::component(self, digest).await
    }
}

fn unreadable(path: &Path, digest: &str, error: &io::Error) -> Diagnostic {
    let file = path.display().to_string();
    if error.kind() == io::ErrorKind::NotFound {
        return Diagnostic::new(Code::ComponentMissing, format!("no component with the digest {digest} is registered"))
            .in_document(file)
            .help("register its file with `ferrule register FILE.wasm`");
    }
    Diagnostic::new(Code::Unreadable, format!("the file of component {digest} cannot be read: {error}"))
        .in_document(file)
        .help("see to it that the server may read its data folder")
}

/// A refused artifact as people see it. What to do about it is in the error's own text.
fn describe(error: &LoadError) -> Diagnostic {
    Diagnostic::new(error.code(), error.to_string())
}
