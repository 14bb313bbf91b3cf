//! Applying, getting and deleting.

use ferrule_api::report::Action;
use ferrule_api::request::{Application, ApplyMode, Deletion, Document};
use ferrule_api::{Error, Platform};
use ferrule_model::{Code, Kind};
use ferrule_server::{Options, Server};

use crate::house::{House, actions, application, codes, root};

const ALL: &str = r#"
apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {name: hot, namespace: plant, labels: {team: a}}
spec:
  source: hall/readings
  functions: [{function: filter, args: {program: .}}]
  sink: hall/alarms
---
apiVersion: connector.ferrule.dev/v1
kind: Stream
metadata: {name: readings, namespace: plant}
spec: {instance: hall, direction: INGRESS, labels: {floor: ground}, parameters: {topic: a/b}}
---
apiVersion: connector.ferrule.dev/v1
kind: Stream
metadata: {name: alarms, namespace: plant}
spec: {instance: hall, direction: EGRESS, parameters: {topic: c}}
---
apiVersion: connector.ferrule.dev/v1
kind: Config
metadata: {name: quick, namespace: plant}
spec: {instance: hall, parameters: {interval: 1}}
---
apiVersion: connector.ferrule.dev/v1
kind: Instance
metadata: {name: hall, namespace: plant}
spec: {class: thermo, static: {place: hall}}
---
apiVersion: connector.ferrule.dev/v1
kind: Function
metadata: {name: filter, namespace: plant}
spec: {version: "1.0.0"}
---
apiVersion: connector.ferrule.dev/v1
kind: Class
metadata: {name: thermo}
spec:
  version: "1.0"
  type: BIDIRECTIONAL
  staticSchema: {type: object, properties: {place: {type: string}}, required: [place]}
---
apiVersion: connector.ferrule.dev/v1
kind: Grant
metadata: {name: thermo}
spec: {class: thermo, allow: [{tcp: "broker.example:1883"}]}
---
apiVersion: connector.ferrule.dev/v1
kind: Category
metadata: {name: floor}
spec: {values: [ground, first]}
---
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: plant}
stringData: {password: hunter2-canary, user: me}
---
apiVersion: connector.ferrule.dev/v1
kind: ServiceDomain
metadata: {name: here}
spec: {}
---
apiVersion: connector.ferrule.dev/v1
kind: Project
metadata: {name: plant}
spec: {serviceDomains: [here]}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_comes_back_as_it_went_in_and_survives_the_server() {
    let house = House::new().await;
    let applied = house.apply(ALL).await.unwrap();
    assert_eq!(applied.objects.len(), 12);
    assert!(applied.objects.iter().all(|object| object.action == Action::Created && !object.uid.is_empty()));
    let again = house.apply(ALL).await.unwrap();
    assert!(again.objects.iter().all(|object| object.action == Action::Unchanged), "{:#?}", actions(&again.objects));

    let house = house.again().await;
    let wanted = ferrule_model::document::read_documents("a", ALL.as_bytes(), None, &|_| None).unwrap();
    assert_eq!(wanted.len(), 12);
    for object in wanted {
        let found = house.one(object.kind, object.name()).await.unwrap().object;
        if object.kind == Kind::Secret {
            let masked = serde_json::json!({"password": "**** (14 bytes)", "user": "**** (2 bytes)"});
            assert_eq!(found.spec["data"], masked);
        } else {
            assert_eq!(found.spec, object.spec, "{}", object.title());
        }
        assert_eq!(found.metadata.labels, object.metadata.labels);
        assert_eq!(found.metadata.namespace, object.metadata.namespace);
        assert_eq!(found.metadata.generation, 1, "{}", object.title());
        let uid = &applied
            .objects
            .iter()
            .find(|made| made.kind == object.kind && made.name.starts_with(object.name()))
            .unwrap()
            .uid;
        assert_eq!(found.uid().as_str(), uid);
    }
    let condition =
        house.one(Kind::Class, "thermo").await.unwrap().object.status.condition("Resolved").cloned().unwrap();
    assert_eq!(condition.reason, "ComponentMissing", "{condition:?}");
    assert_eq!(condition.observed_generation, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn kps_documents_apply_and_come_back_in_their_own_form() {
    let house = House::new().await;
    let folder = root().join("samples/kps");
    let mut documents = Vec::new();
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json" || extension == "yaml") {
            let content = std::fs::read(&path).unwrap();
            texts.push(String::from_utf8(content.clone()).unwrap());
            let name = path.display().to_string();
            documents.push(Document { name, content, folder: Some(folder.clone()), ..Document::default() });
        }
    }
    let count = documents.len();
    assert!(count > 8, "{count}");
    let applied = house.client.apply(Application { documents, ..Application::default() }).await.unwrap();
    assert_eq!(applied.objects.len(), count);
    for made in &applied.objects {
        let stored = house.one(made.kind, &made.uid).await.unwrap();
        let original = stored.original.expect("a KPS document has a form of its own");
        let again =
            ferrule_model::document::read_documents("again", original.as_bytes(), Some(made.kind), &|_| None).unwrap();
        assert_eq!(again[0].spec.get("instance"), stored.object.spec.get("instance"));
        assert_eq!(again[0].name(), stored.object.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_is_told_at_once_and_nothing_is_stored() {
    let house = House::new().await;
    house.apply(ALL).await.unwrap();
    let wrong = r#"
apiVersion: connector.ferrule.dev/v1
kind: Instance
metadata: {name: yard, namespace: plant}
spec: {class: thermo, static: {place: 7}}
---
apiVersion: connector.ferrule.dev/v1
kind: Stream
metadata: {name: upstairs, namespace: plant}
spec: {instance: yard, direction: INGRESS, labels: {floor: frist}}
---
apiVersion: connector.ferrule.dev/v1
kind: Pipeline
metadata: {name: backwards, namespace: plant}
spec: {source: hall/alarms, sink: hall/alarms}
"#;
    let outcome = house.apply(wrong).await;
    let all = outcome.clone().unwrap_err().diagnostics().to_vec();
    assert_eq!(codes(outcome), [Code::BadParameters, Code::UnknownLabel, Code::DirectionNotAllowed], "{all:#?}");
    assert_eq!(all[0].document, "a.yaml#1");
    assert!(all[0].path.starts_with("spec.static"), "{}", all[0].path);
    assert!(all[1].help.as_deref().unwrap().contains("`first`"), "{all:#?}");
    assert_eq!(house.get(Kind::Instance).await.len(), 1);

    let syntax = house.apply("kind: [").await;
    assert_eq!(codes(syntax), [Code::NotYaml]);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_log_gives_is_refused_when_applied() {
    let folder = tempfile::tempdir().unwrap();
    // Such a server keeps records in memory.
    let server = Server::start(Options::embedded(folder.path().join("data"))).await.unwrap();
    let platform = server.platform();
    let asks = |durability: &str| {
        ALL.replace("labels: {floor: ground}", &format!("labels: {{floor: ground}}, log: {{durability: {durability}}}"))
    };
    for durability in ["fsync", "os"] {
        let Err(Error::Refused(all)) = platform.apply(application(&asks(durability))).await else { panic!("applied") };
        let told = all.iter().filter(|one| one.is_error()).map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(told.contains("FE0213") && told.contains("`memory`") && told.contains("embedded, nats"), "{told}");
    }
    platform.apply(application(&asks("memory"))).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_and_a_difference_change_nothing() {
    let house = House::new().await;
    let dry = Application { dry_run: true, ..application(ALL) };
    let applied = house.client.apply(dry).await.unwrap();
    assert!(applied.objects.iter().all(|object| object.action == Action::Created));
    assert!(house.get(Kind::Class).await.is_empty());

    house.apply(ALL).await.unwrap();
    let changed = ALL.replace("topic: a/b", "topic: a/c");
    let differences = house.client.diff(application(&changed)).await.unwrap().differences;
    let differs: Vec<_> = differences.iter().filter(|difference| difference.action != Action::Unchanged).collect();
    assert_eq!(differs.len(), 1);
    assert_eq!(differs[0].name, "readings");
    assert_eq!(differs[0].before.as_ref().unwrap()["spec"]["parameters"]["topic"], "a/b");
    assert_eq!(differs[0].after.as_ref().unwrap()["spec"]["parameters"]["topic"], "a/c");
    assert_eq!(house.one(Kind::Stream, "readings").await.unwrap().object.metadata.generation, 1);

    house.apply(&changed).await.unwrap();
    let stored = house.one(Kind::Stream, "readings").await.unwrap().object;
    assert_eq!((stored.metadata.generation, &stored.spec["parameters"]["topic"]), (2, &"a/c".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn create_and_update_insist() {
    let house = House::new().await;
    let category =
        "apiVersion: connector.ferrule.dev/v1\nkind: Category\nmetadata: {name: floor}\nspec: {values: [a]}\n";
    let with = |mode| Application { mode, ..application(category) };
    assert_eq!(codes(house.client.apply(with(ApplyMode::Update)).await), [Code::NotFound]);
    house.client.apply(with(ApplyMode::Create)).await.unwrap();
    assert_eq!(codes(house.client.apply(with(ApplyMode::Create)).await), [Code::AlreadyExists]);
    house.client.apply(with(ApplyMode::Update)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_read_before_the_last_change_is_refused() {
    let house = House::new().await;
    let category = |values: &str, more: &str| {
        format!(
            "apiVersion: connector.ferrule.dev/v1\nkind: Category\nmetadata: {{name: floor{more}}}\nspec: {{values: {values}}}\n"
        )
    };
    house.apply(&category("[a]", "")).await.unwrap();
    let read = house.one(Kind::Category, "floor").await.unwrap().object.metadata;
    let version = format!(", resourceVersion: '{}'", read.resource_version);
    let current = format!("{version}, generation: {}", read.generation);
    house.apply(&category("[a, b]", &current)).await.unwrap();
    for stale in [version, current] {
        assert_eq!(codes(house.apply(&category("[a, c]", &stale)).await), [Code::Conflict], "{stale}");
    }
    // A status written in between raises the version, and is no conflict.
    let other = format!(", resourceVersion: '0', generation: {}", read.generation + 1);
    house.apply(&category("[a, c]", &other)).await.unwrap();
    house.apply(&category("[a, d]", "")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_use_stays_until_its_users_go() {
    let house = House::new().await;
    house.apply(ALL).await.unwrap();
    let delete = |kind, name: &str, cascade| {
        let deletion = Deletion { kind: Some(kind), names: vec![name.to_owned()], cascade, ..Deletion::default() };
        house.client.delete(deletion)
    };
    for (kind, name, user) in [
        (Kind::Class, "thermo", "instance hall"),
        (Kind::Instance, "hall", "stream alarms"),
        (Kind::Stream, "readings", "pipeline hot"),
        (Kind::Function, "filter", "pipeline hot"),
        (Kind::Category, "floor", "stream readings"),
        (Kind::Project, "plant", "pipeline hot"),
        (Kind::ServiceDomain, "here", "project plant"),
    ] {
        let error = delete(kind, name, false).await.unwrap_err();
        assert_eq!(error.diagnostics()[0].code, Code::InUse, "{error}");
        assert!(error.to_string().contains(user), "{error}");
    }
    assert_eq!(codes(delete(Kind::Stream, "raedings", false).await), [Code::NotFound]);

    let gone = delete(Kind::Instance, "hall", true).await.unwrap();
    let names: Vec<_> = gone.iter().map(|object| object.name.as_str()).collect();
    assert_eq!(names, ["hot", "readings", "alarms", "quick", "hall"]);
    assert!(house.get(Kind::Stream).await.is_empty());
    delete(Kind::Class, "thermo", false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_takes_what_a_set_no_longer_has() {
    let house = House::new().await;
    let category = |name: &str| {
        format!(
            "---\napiVersion: connector.ferrule.dev/v1\nkind: Category\nmetadata: {{name: {name}}}\nspec: {{values: [a]}}\n"
        )
    };
    let with = |text: &str, prune| Application { prune, set: Some("folder".to_owned()), ..application(text) };
    house.apply(&category("other")).await.unwrap();
    house.client.apply(with(&(category("a") + &category("b")), false)).await.unwrap();
    let applied = house.client.apply(with(&category("b"), true)).await.unwrap();
    assert_eq!(
        actions(&applied.objects),
        [("category/b".to_owned(), Action::Unchanged), ("category/a".to_owned(), Action::Deleted)]
    );
    assert_eq!(house.get(Kind::Category).await.len(), 2);
}
