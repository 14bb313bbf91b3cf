//! The `ferrule` binary on a data folder of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use crate::until;
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use tempfile::TempDir;

/// A running server, or one that was stopped and may start again on the same data.
pub struct Ferrule {
    folder: TempDir,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    wrapper: Vec<String>,
    server: Option<Child>,
}

/// What a command answered.
#[derive(Debug)]
pub struct Answer {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Answer {
    /// The answer of a command that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> Answer {
        assert_eq!(self.code, 0, "the command failed:\n{}\n{}", self.out, self.err);
        self
    }

    /// The answer of a command that must have failed, with this exit code and these words in its message.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> Answer {
        assert_eq!(self.code, code, "expected exit code {code}:\n{}\n{}", self.out, self.err);
        for word in words {
            assert!(self.err.contains(word) || self.out.contains(word), "no {word:?} in:\n{}\n{}", self.out, self.err);
        }
        self
    }
}

impl Ferrule {
    /// Starts a server on an empty folder, and waits until it answers.
    pub fn start() -> Ferrule {
        Ferrule::start_with(&[])
    }

    /// The same with environment variables, for documents that name them.
    pub fn start_with(environment: &[(&str, &str)]) -> Ferrule {
        let mut ferrule = Ferrule::idle_with(environment);
        ferrule.up();
        ferrule
    }

    /// An empty data folder and no server yet, with environment variables.
    pub fn idle_with(environment: &[(&str, &str)]) -> Ferrule {
        let mut ferrule = Ferrule::idle();
        ferrule.environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        ferrule
    }

    /// The same with more arguments for `ferrule serve`.
    pub fn serve_with(arguments: &[&str]) -> Ferrule {
        let mut ferrule = Ferrule::idle();
        ferrule.set_arguments(arguments);
        ferrule.up();
        ferrule
    }

    /// More arguments for `ferrule serve`, from the next start on.
    pub fn set_arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    }

    /// What runs the server, as words before its own, from the next start on; it must become the server (`exec`).
    pub fn set_wrapper(&mut self, words: &[&str]) {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// An empty data folder and no server.
    pub fn idle() -> Ferrule {
        Ferrule {
            folder: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
            arguments: Vec::new(),
            wrapper: Vec::new(),
            server: None,
        }
    }

    /// Starts the server on the data that is there.
    pub fn up(&mut self) {
        // Compiling the guests that ship takes most of a start: what one test compiled serves the others.
        let (shared, own) = (binary("ferrule-suites-compiled"), self.folder().join("data/components/compiled"));
        if !own.is_dir() {
            copy_missing(&shared, &own);
        }
        let log = fs::File::options().create(true).append(true).open(self.folder().join("server.log")).unwrap();
        let mut serve = self.server_program();
        serve.args(["serve", "--no-metrics", "--log", "warn"]).args(&self.arguments);
        let server = serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.server = Some(server.expect("the ferrule binary; `cargo xtask test` builds it"));
        until("ferrule serve answers", || {
            let ended = self.server.as_mut().and_then(|server| server.try_wait().unwrap());
            assert!(ended.is_none(), "ferrule serve ended at once: {ended:?}\n{}", self.log());
            (self.run(&["get", "streams"]).code == 0).then_some(())
        });
        copy_missing(&own, &shared);
    }

    /// The process of the running server.
    pub fn id(&self) -> u32 {
        self.server.as_ref().expect("a running server").id()
    }

    /// Kills the server as `kill -9` does.
    pub fn kill(&mut self) {
        let mut server = self.server.take().expect("a running server");
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// Ends the server by SIGTERM, as an operator does.
    pub fn terminate(&mut self) -> ExitStatus {
        terminate(&mut self.server.take().expect("a running server"))
    }

    /// The folder for files of the test; the server's data is in it too.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the server wrote to standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder().join("server.log")).unwrap_or_default()
    }

    /// Runs `ferrule WORDS`.
    pub fn run(&self, words: &[&str]) -> Answer {
        answer(self.program().args(words).stdin(Stdio::null()).output().unwrap())
    }

    /// Starts `ferrule WORDS`, to be waited for.
    pub fn spawn(&self, words: &[&str]) -> Child {
        let quiet = self.program().args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        quiet.unwrap()
    }

    /// Runs `ferrule WORDS` with `input` on standard input.
    pub fn feed(&self, words: &[&str], input: &[u8]) -> Answer {
        let mut child = self
            .program()
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A command that refuses its input closes it early; that is no failure of the test.
        let writer = std::thread::spawn(move || stdin.write_all(&input).ok());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        answer(output)
    }

    /// Applies documents.
    pub fn apply(&self, documents: &str) -> Answer {
        self.feed(&["apply", "-f", "-"], documents.as_bytes())
    }

    /// Writes a file into the test's folder.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// An object as `ferrule get KIND NAME -o json` prints it, or nothing.
    pub fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let answer = self.run(&["get", kind, name, "-o", "json"]);
        (answer.code == 0).then(|| serde_json::from_str(&answer.out).expect("JSON on standard output"))
    }

    /// What `ferrule status -o json` prints.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.run(&["status", "-o", "json"]).ok().out).expect("JSON on standard output")
    }

    /// The status of one of the `streams` or `pipelines`.
    #[track_caller]
    pub fn entry(&self, list: &str, name: &str) -> Value {
        let status = self.status();
        let found = status[list].as_array().unwrap().iter().find(|entry| entry["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {status}")).clone()
    }

    /// A number in the status of a pipeline; 0 where it is not there yet.
    pub fn count(&self, pipeline: &str, field: &str) -> u64 {
        let status = self.status();
        let found = status["pipelines"].as_array().unwrap().iter().find(|entry| entry["name"] == pipeline);
        found.and_then(|entry| entry[field].as_u64()).unwrap_or_default()
    }

    /// Waits until an object satisfies `done`.
    pub fn wait(&self, kind: &str, name: &str, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        let mut last = None;
        let deadline = std::time::Instant::now() + crate::wait::PATIENCE;
        while std::time::Instant::now() < deadline {
            last = self.get(kind, name);
            if let Some(object) = last.as_ref().filter(|object| done(object)) {
                return object.clone();
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("{kind} {name} did not become {what}: {last:#?}\n{}", self.log());
    }

    /// Waits until the object's condition `Ready` is true.
    pub fn ready(&self, kind: &str, name: &str) -> Value {
        self.wait(kind, name, "ready", |object| {
            condition(object, "Ready").is_some_and(|ready| ready["status"] == "True")
        })
    }

    /// Waits until one of the object's conditions has this reason; returns its message.
    pub fn reason(&self, kind: &str, name: &str, reason: &str) -> String {
        let with_reason = |object: &Value| {
            let conditions = object["status"]["conditions"].as_array()?;
            let found = conditions.iter().find(|condition| condition["reason"] == reason)?;
            Some(found["message"].as_str().unwrap_or_default().to_owned())
        };
        let object = self.wait(kind, name, reason, |object| with_reason(object).is_some());
        with_reason(&object).unwrap_or_default()
    }

    /// `ferrule`, to be given words: on this data folder, with the compiled forms that all tests share.
    pub fn program(&self) -> Command {
        self.here(Command::new(binary("ferrule")))
    }

    fn server_program(&self) -> Command {
        let Some((program, words)) = self.wrapper.split_first() else { return self.program() };
        let mut command = Command::new(program);
        command.args(words).arg(binary("ferrule"));
        self.here(command)
    }

    fn here(&self, mut command: Command) -> Command {
        command.env("FERRULE_DATA", self.folder().join("data")).current_dir(self.folder());
        command.env("XDG_CACHE_HOME", binary("ferrule-suites-cache"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Drop for Ferrule {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take()
            && server.kill().is_ok()
        {
            server.wait().ok();
        }
    }
}

/// Copies the files that are not there yet; each appears whole, whoever else copies at the same time.
fn copy_missing(from: &Path, to: &Path) {
    let Ok(entries) = fs::read_dir(from) else { return };
    // The server takes compiled forms only from a folder of its user's own.
    fs::DirBuilder::new().recursive(true).mode(0o700).create(to).unwrap();
    for entry in entries.map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().extension().is_some_and(|ending| ending == "compiled") && !target.exists() {
            let mut part = tempfile::NamedTempFile::new_in(to).unwrap();
            std::io::copy(&mut fs::File::open(entry.path()).unwrap(), &mut part).unwrap();
            part.persist(target).unwrap();
        }
    }
}

/// A native document, to stand behind others: `spec` is YAML in one line.
pub fn native(kind: &str, name: &str, spec: &str) -> String {
    format!("---\napiVersion: connector.ferrule.dev/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// Ends a process by SIGTERM and waits for it.
pub fn terminate(process: &mut Child) -> ExitStatus {
    let status = Command::new("kill").args(["-TERM", &process.id().to_string()]).status().unwrap();
    assert!(status.success());
    until("the process ends after SIGTERM", || process.try_wait().unwrap())
}

/// The condition of this type in an object's status.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// A program of this workspace, beside the test's own.
pub fn binary(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.join(name)
}

/// The folder of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn answer(output: Output) -> Answer {
    Answer {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
