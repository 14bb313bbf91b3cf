//! Registering components.

use ferrule_api::Platform;
use ferrule_api::report::Action;
use ferrule_api::request::{Application, Document, Inspection, Registration};
use ferrule_model::{Code, Kind};

use crate::house::{House, actions, application, codes, guest};

fn registration(name: &str) -> Registration {
    Registration { content: guest(name), file: format!("{name}.wasm"), ..Registration::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_makes_its_class_once() {
    let house = House::new().await;
    let first = house.client.register(Registration { grant: true, ..registration("mqtt") }).await.unwrap();
    assert_eq!(first.component.world, "connector");
    assert!(!first.component.asks().is_empty());
    let kinds: Vec<_> = first.objects.iter().map(|object| (object.kind, object.action)).collect();
    let created = Action::Created;
    assert_eq!(kinds, [(Kind::Component, created), (Kind::Class, created), (Kind::Grant, created)]);
    let again = house.client.register(registration("mqtt")).await.unwrap();
    assert!(again.objects.iter().all(|object| object.action == Action::Unchanged), "{:?}", again.objects);

    let class = house.one(Kind::Class, "mqtt").await.unwrap().object;
    assert_eq!(class.spec["type"], "BIDIRECTIONAL");
    assert_eq!(class.spec["component"], first.component.digest.as_str());
    assert!(class.spec["streamSchema"].is_object());
    assert!(class.status.holds("Ready"), "{:?}", class.status);

    let house = house.again().await;
    let (facts, users) = house.client.inspect(Inspection::Reference("mqtt".to_owned())).await.unwrap();
    assert_eq!(facts, first.component);
    assert_eq!(users, [format!("class/{}", first.objects[1].name)]);
    let (facts, _) = house.client.inspect(Inspection::Content(guest("mqtt"))).await.unwrap();
    assert_eq!(facts, first.component);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_component_is_refused_and_nothing_is_kept() {
    let house = House::new().await;
    let mut cut = guest("generator");
    cut.truncate(cut.len() / 2);
    for (content, code) in
        [(b"#!/bin/sh".to_vec(), Code::NotWasm), (b"\0asm\x01\0\0\0".to_vec(), Code::CoreModule), (cut, Code::NotWasm)]
    {
        let registration = Registration { content, file: "x.wasm".to_owned(), ..Registration::default() };
        let error = house.client.register(registration).await.unwrap_err();
        assert_eq!(error.diagnostics()[0].document, "x.wasm");
        assert_eq!(error.diagnostics()[0].code, code, "{error}");
    }
    assert!(house.get(Kind::Component).await.is_empty());
    let kept = std::fs::read_dir(house.folder.path().join("data/components")).unwrap();
    assert_eq!(kept.filter(|entry| entry.as_ref().unwrap().path().is_file()).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_stands_for_one_content() {
    let house = House::new().await;
    house.client.register(registration("generator")).await.unwrap();
    // The same component with a section more: other contents under the same name and version.
    let mut other = guest("generator");
    other.extend_from_slice(&[0, 5, 4, b'n', b'o', b't', b'e']);
    let other = Registration { content: other, ..registration("generator") };
    assert_eq!(codes(house.client.register(other.clone()).await), [Code::VersionTaken]);
    assert_eq!(house.get(Kind::Component).await.len(), 1);
    let before = house.one(Kind::Class, "generator").await.unwrap().object;

    let replaced = house.client.register(Registration { replace: true, ..other }).await.unwrap();
    let after = house.one(Kind::Class, "generator").await.unwrap().object;
    assert_eq!(after.uid(), before.uid());
    assert_ne!(after.spec["component"], before.spec["component"]);
    assert_eq!(after.spec["component"], replaced.component.digest.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn replacing_moves_the_users_of_a_name_to_an_older_version_too() {
    let house = House::new().await;
    let older = registration("generator");
    let mut content = guest("generator");
    let own = |at: &usize| content[*at..].starts_with(b"0.1.0") && content[at - 1] != b'@';
    for at in (1..content.len()).filter(own).collect::<Vec<_>>() {
        content[at..at + 5].copy_from_slice(b"0.2.0");
    }
    let newer = Registration { content, ..registration("generator") };
    house.client.register(older.clone()).await.unwrap();
    house
        .apply(
            "apiVersion: connector.ferrule.dev/v1\nkind: Instance\nmetadata: {name: hall}\nspec: {class: generator}\n",
        )
        .await
        .unwrap();
    let version = async || {
        let instance = house.one(Kind::Instance, "hall").await.unwrap().object;
        instance.status.details["component"]["version"].as_str().unwrap().to_owned()
    };
    house.client.register(newer.clone()).await.unwrap();
    assert_eq!(version().await, "0.1.0", "a newer version moves nobody");
    for (registration, expected) in [(&newer, "0.2.0"), (&older, "0.1.0"), (&older, "0.1.0"), (&newer, "0.2.0")] {
        let registration = Registration { replace: true, ..registration.clone() };
        let before = version().await;
        let tried = house.client.register(Registration { dry_run: true, ..registration.clone() }).await.unwrap();
        let registered = house.client.register(registration).await.unwrap();
        assert_eq!(actions(&registered.objects), actions(&tried.objects));
        let changes = registered.objects.iter().any(|object| object.action == Action::Configured);
        assert_eq!(changes, before != expected, "{:?}", registered.objects);
        assert_eq!(version().await, expected);
    }
    let house = house.again().await;
    let instance = house.one(Kind::Instance, "hall").await.unwrap().object;
    assert_eq!(instance.status.details["component"]["version"], "0.2.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_can_serve_a_class_that_is_there() {
    let house = House::new().await;
    let class = |kind: &str| {
        format!(
            "apiVersion: connector.ferrule.dev/v1\nkind: Class\nmetadata: {{name: thermo}}\nspec: {{version: '1.0', type: {kind}}}\n"
        )
    };
    let serve = || Registration { for_class: Some("thermo".to_owned()), ..registration("generator") };
    assert_eq!(codes(house.client.register(serve()).await), [Code::NotFound]);
    house.apply(&class("BIDIRECTIONAL")).await.unwrap();
    assert_eq!(codes(house.client.register(serve()).await), [Code::WrongWorld]);
    house.apply(&class("INGRESS")).await.unwrap();
    let registered = house.client.register(serve()).await.unwrap();
    // The document says nothing of a component; applying it again does not take it away.
    house.apply(&class("INGRESS")).await.unwrap();
    let class = house.one(Kind::Class, "thermo").await.unwrap().object;
    assert_eq!(class.spec["component"], registered.component.digest.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_may_bring_its_component() {
    let house = House::new().await;
    std::fs::write(house.folder.path().join("gen.wasm"), guest("generator")).unwrap();
    let text =
        "apiVersion: connector.ferrule.dev/v1\nkind: Class\nmetadata: {name: mine}\nspec: {component: ./gen.wasm}\n";
    let mut application = application(text);
    application.documents[0].folder = Some(house.folder.path().to_owned());
    let applied = house.client.apply(application).await.unwrap();
    let made: Vec<_> = actions(&applied.objects)
        .into_iter()
        .map(|(name, action)| (name.split('@').next().unwrap().to_owned(), action))
        .collect();
    assert_eq!(made, [("component/generator".to_owned(), Action::Created), ("class/mine".to_owned(), Action::Created)]);
    let class = house.one(Kind::Class, "mine").await.unwrap().object;
    assert!(class.spec["component"].as_str().unwrap().starts_with("sha256:"));
    assert!(class.status.holds("Ready"), "{:?}", class.status);

    let missing = Document {
        name: "b.yaml".to_owned(),
        content: text.replace("gen.wasm", "no.wasm").into(),
        ..Document::default()
    };
    let outcome = house.client.apply(Application { documents: vec![missing], ..Application::default() }).await;
    assert_eq!(codes(outcome), [Code::Unreadable]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_does_not_parse_is_refused_by_its_component() {
    let house = House::new().await;
    for name in ["generator", "jq", "blackhole"] {
        house.register(name).await;
    }
    let pipeline = |program: &str| {
        format!(
            "apiVersion: connector.ferrule.dev/v1\nkind: Pipeline\nmetadata: {{name: p}}\nspec:\n  source: {{class: generator}}\n  \
             functions: [{{function: jq, args: {{program: '{program}'}}}}]\n  sink: {{class: blackhole}}\n"
        )
    };
    let error = house.apply(&pipeline(".a |")).await.unwrap_err();
    let problem = &error.diagnostics()[0];
    assert_eq!(problem.code, Code::GuestProblem, "{error}");
    assert_eq!(problem.path, "spec.functions[0].args.program");
    assert!(house.get(Kind::Pipeline).await.is_empty());
    house.apply(&pipeline(".a")).await.unwrap();
}
