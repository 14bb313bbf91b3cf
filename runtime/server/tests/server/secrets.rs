//! Secrets: stored sealed, shown masked, kept where they are used.

use std::time::Duration;

use ferrule_api::Platform;
use ferrule_api::report::Action;
use ferrule_api::request::{Application, ApplyMode, Deletion};
use ferrule_model::{Code, Kind, document};
use ferrule_server::{Options, Server};

use crate::house::{DEADLINE, House, actions, application, codes};

const SECRET: &str =
    "apiVersion: v1\nkind: Secret\nmetadata: {name: login}\nstringData: {password: hunter2-canary, user: me}\n";

async fn generation(house: &House) -> u64 {
    house.one(Kind::Secret, "login").await.unwrap().object.metadata.generation
}

/// Waits until a condition of the secret has this reason; its message.
async fn condition(house: &House, reason: &str) -> String {
    let found = tokio::time::timeout(DEADLINE, async {
        loop {
            let object = house.one(Kind::Secret, "login").await.unwrap().object;
            if let Some(found) = object.status.conditions.iter().find(|condition| condition.reason == reason) {
                return found.message.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("no condition with the reason {reason}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_masked_and_what_is_shown_applies_again() {
    let house = House::new().await;
    house.apply(SECRET).await.unwrap();
    assert_eq!(generation(&house).await, 1);
    let same = house.apply(SECRET).await.unwrap();
    assert_eq!(actions(&same.objects), [("secret/login".to_owned(), Action::Unchanged)]);

    let shown = house.one(Kind::Secret, "login").await.unwrap().object.to_native();
    assert_eq!(shown["data"]["password"], "**** (14 bytes)");
    let text = document::write(&[shown], ferrule_model::Syntax::Yaml);
    let again = house.apply(&text).await.unwrap();
    assert_eq!(actions(&again.objects), [("secret/login".to_owned(), Action::Unchanged)], "{text}");
    assert_eq!(codes(house.apply(&text.replace("password:", "pin:")).await), [Code::BadValue]);

    // What changes is said, and not how.
    let other = SECRET.replace("hunter2", "hunter3");
    let differences = house.client.diff(application(&other)).await.unwrap().differences;
    let told = serde_json::to_string(&differences).unwrap();
    assert!(told.contains("**** (14 bytes, changed)") && told.contains("**** (2 bytes)"), "{told}");
    assert!(!told.contains("canary") && !told.contains("sealed:") && !told.contains("aHVudGVy"), "{told}");
    let dry = Application { dry_run: true, ..application(&other) };
    house.client.apply(dry).await.unwrap();
    assert_eq!(generation(&house).await, 1, "a trial changes nothing");
    house.apply(&other).await.unwrap();
    assert_eq!(generation(&house).await, 2);
    let created = Application { mode: ApplyMode::Create, ..application(SECRET) };
    assert_eq!(codes(house.client.apply(created).await), [Code::AlreadyExists]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_use_stays_and_who_uses_it_is_named() {
    let house = House::new().await;
    house.apply(SECRET).await.unwrap();
    let class = "apiVersion: connector.ferrule.dev/v1\nkind: Class\nmetadata: {name: thermo}\nspec: {}\n---\n";
    let instance = "apiVersion: connector.ferrule.dev/v1\nkind: Instance\nmetadata: {name: hall}\n\
                    spec: {class: thermo, static: {deep: [{token: {secret: login, key: password}}]}}\n";
    house.apply(&format!("{class}{instance}")).await.unwrap();
    let deletion = || Deletion { kind: Some(Kind::Secret), names: vec!["login".to_owned()], ..Deletion::default() };
    let refused = house.client.delete(deletion()).await;
    let text = format!("{refused:?}");
    assert!(text.contains("instance hall"), "{text}");
    assert_eq!(codes(refused), [Code::InUse]);
    let free = instance.replace("{secret: login, key: password}", "x");
    house.apply(&free).await.unwrap();
    house.client.delete(deletion()).await.unwrap();
    assert!(house.get(Kind::Secret).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_key_a_server_starts_and_says_what_it_cannot_open() {
    let house = House::new().await;
    house.apply(SECRET).await.unwrap();
    let House { server, folder, .. } = house;
    server.stop().await;
    let key = folder.path().join("data/secret.key");
    let old = folder.path().join("old.key");
    std::fs::rename(&key, &old).unwrap();
    let house = House::at(folder).await;
    let message = condition(&house, "SecretUnreadable").await;
    assert!(
        message.contains("`password` of secret `login`") && message.contains(Code::SecretUnreadable.id()),
        "{message}"
    );
    // Its values, given again, are sealed with the new key.
    house.apply(SECRET).await.unwrap();
    condition(&house, "Accepted").await;
    let House { server, folder, .. } = house;
    server.stop().await;

    // The old key, by its name: what is sealed with another one is told again.
    let mut options = Options::new(folder.path().join("data"));
    options.secret_key = Some(old.clone());
    options.metrics = None;
    let server = Server::start(options.clone()).await.unwrap();
    let client = server.client().await.unwrap();
    let house = House { server, client, folder };
    condition(&house, "SecretUnreadable").await;
    let House { server, folder, .. } = house;
    server.stop().await;
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let error = Server::start(options).await.unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");
    drop(folder);
}
