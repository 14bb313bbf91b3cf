//! What parameters take from secrets: filled in before they are judged, given only to who may have it, and never told.

use ferrule_control::Site;
use ferrule_control::Snapshot;
use ferrule_control::secrets::{Vault, reveal};
use ferrule_model::secret::{SecretRef, SecretSpec};
use ferrule_model::{Code, Kind, Object};
use serde_json::json;
use std::sync::Arc;

use crate::setup::{STRAIGHT, check_at, component, components, lines, memory, objects, resolved};

const SECRET: &str = "hunter2-canary";

fn site() -> Site {
    let vault = Vault::new(&Vault::new_key().unwrap()).unwrap();
    Site { vault, log: memory(), ..Site::default() }
}

/// `login`, a connector that asks for its password; its schema wants eight characters at least.
fn login() -> Object {
    let asks = json!([{"kind": "tcp", "target": "{broker}", "reason": "the broker"},
        {"kind": "secret", "target": "{password}", "reason": "to log in"}]);
    let stream = json!({"type": "object", "properties": {"password": {"type": "string", "minLength": 8}}});
    component("login", "1.0.0", "l1", &["ingress", "egress"], asks, &stream, &[])
}

/// The secret `name` with the value `password`, sealed.
fn secret(site: &Site, name: &str, value: &str, namespace: Option<&str>) -> Object {
    let mut object = Object::new(Kind::Secret, name, SecretSpec::default()).unwrap();
    object.metadata.uid = format!("secret-{name}-{}", namespace.unwrap_or_default()).into();
    object.metadata.namespace = namespace.map(str::to_owned);
    let sealed = site.vault.seal(object.uid(), "password", value.as_bytes()).unwrap();
    object.set_spec(json!({"type": "Opaque", "data": {"password": sealed}})).unwrap();
    object
}

const HALL: &str = "
kind: Class
metadata: {name: login}
spec: {}
---
kind: Instance
metadata: {name: hall}
spec: {class: login}
---
kind: Stream
metadata: {name: in}
spec: {instance: hall, direction: INGRESS, parameters: {broker: 'b:1', password: {secret: s, key: password}}, labels: {measure: heat}}
---
kind: Stream
metadata: {name: out}
spec: {instance: hall, direction: EGRESS, parameters: {broker: 'b:1'}}
---
";

const GRANT: &str = "
---
kind: Grant
metadata: {name: g}
spec: {class: login, allow: [{tcp: '{broker}'}, {secret: '{password}'}]}
";

fn told(site: &Site, secrets: &[Object], more: &str, expected: &[&str]) {
    let all = components().into_iter().chain([login()]).chain(secrets.iter().cloned()).collect();
    check_at(site, all, &format!("{HALL}{STRAIGHT}{more}"), expected);
}

#[test]
fn a_value_is_given_to_who_asks_for_it_and_is_granted_it() {
    let site = site();
    let there = [secret(&site, "s", SECRET, None)];
    let runs = format!("run stream hall/in by login@1.0.0 parameters {{\"broker\":\"b:1\",\"password\":\"{SECRET}\"}}");
    told(&site, &there, GRANT, &[&runs, "may [tcp: b:1, secret: s]", "secret-s-: Ready=True Accepted"]);
    let literal = GRANT.replace("{password}", "s");
    told(&site, &there, &literal, &[&runs]);
    told(&site, &there, &GRANT.replace("{password}", "t"), &["SecretNotGranted", "!run stream hall/in"]);
    told(
        &site,
        &there,
        "",
        &[
            "stream-in: Resolved=False SecretNotGranted: login would see secret `s`, and no grant gives it. To allow it, apply a \
             document of kind Grant with spec: {class: login, allow: [{\"secret\":\"s\"}]} (FE0407)",
            "!run stream hall/in",
            "!hunter2",
        ],
    );
    let denied = format!("{GRANT}---\nkind: Grant\nmetadata: {{name: no}}\nspec: {{deny: [{{secret: s}}]}}\n");
    told(
        &site,
        &there,
        &denied,
        &["SecretDenied: login would see secret `s`, which `secret: s` denies", "!run stream hall/in"],
    );
    // A parameter that says the value itself asks for no secret.
    let plain = format!("{HALL}{STRAIGHT}").replace("{secret: s, key: password}", "plain-password");
    check_at(&site, vec![login()], &plain, &["run stream hall/in", "!plain-password\" to", "!secret: plain"]);
}

#[test]
fn what_is_not_asked_for_is_not_given() {
    let site = site();
    let there = [secret(&site, "s", SECRET, None)];
    let elsewhere = format!("{HALL}{STRAIGHT}{GRANT}").replace("password: {secret", "topic: {secret");
    let all: Vec<Object> = [login()].into_iter().chain(there).collect();
    check_at(
        &site,
        all,
        &elsewhere,
        &["SecretNotAsked: the component of class login does not ask for secret `s`", "!run stream hall/in"],
    );
}

#[test]
fn what_is_missing_is_a_condition_until_it_comes() {
    let site = site();
    let missing = "stream-in: Resolved=False SecretMissing: spec.parameters.password: there is no secret `s` yet; apply its document (FE0210)";
    told(&site, &[], GRANT, &[missing, "pipeline-p: Resolved=False SecretMissing", "!run stream hall/in"]);
    let other = secret(&site, "s", SECRET, Some("elsewhere"));
    told(&site, &[other], GRANT, &[missing]);
    let mut empty = secret(&site, "s", SECRET, None);
    empty.set_spec(json!({"type": "Opaque", "data": {"token": empty.spec["data"]["password"]}})).unwrap();
    told(
        &site,
        &[empty],
        GRANT,
        &["SecretMissing: spec.parameters.password: secret `s` has no key `password`, but token"],
    );
}

#[test]
fn a_lost_key_is_said_of_the_secret_and_of_what_uses_it() {
    let (site, other) = (site(), site());
    let there = [secret(&other, "s", SECRET, None)];
    let lost = "SecretUnreadable: the value `password` of secret `s` cannot be opened: it was sealed with another key";
    told(
        &site,
        &there,
        GRANT,
        &[&format!("secret-s-: Ready=False {lost}"), "stream-in: Ready=False SecretUnreadable", "(FE0214)"],
    );
    let snapshot = Snapshot::new(there.into_iter().map(Arc::new));
    let asker = Object::new(Kind::Stream, "in", json!({})).unwrap();
    let reference = SecretRef { secret: "s".into(), key: "password".into() };
    assert_eq!(reveal(&snapshot, &site.vault, &asker, &reference).unwrap_err().code, Code::SecretUnreadable);
    let revealed = reveal(&snapshot, &other.vault, &asker, &reference).unwrap();
    assert_eq!((revealed.text(), revealed.bytes()), (Some(SECRET), SECRET.as_bytes()));
    assert!(!format!("{revealed:?}").contains("hunter"));
}

#[test]
fn what_does_not_fit_is_told_without_the_value() {
    let site = site();
    let there = [secret(&site, "s", "short", None)];
    told(
        &site,
        &there,
        GRANT,
        &[
            "ParametersInvalid: spec.parameters.password: expected at least 8 characters (key `password` of secret `s` does not fit)",
            "!\"short\"",
        ],
    );
}

#[test]
fn a_projects_own_secret_comes_first_and_another_projects_is_not_there() {
    let site = site();
    let there = [
        secret(&site, "s", "for-everybody", None),
        secret(&site, "s", "for-the-plant", Some("plant")),
        secret(&site, "s", "for-the-yard", Some("yard")),
    ];
    told(&site, &there, GRANT, &["\"password\":\"for-everybody\""]);
    let all: Vec<Object> = [login()].into_iter().chain(there).collect();
    let mut documents = objects(&format!("{HALL}{STRAIGHT}{GRANT}"));
    for object in documents.iter_mut().filter(|object| object.kind.is_in_project()) {
        object.metadata.namespace = Some("plant".into());
    }
    let lines = lines(&resolved(all.into_iter().chain(documents), &site));
    assert!(lines.iter().any(|line| line.contains("\"password\":\"for-the-plant\"")), "{lines:#?}");
}

#[test]
fn a_new_value_is_another_session_and_nothing_of_it_is_told() {
    let site = site();
    let run = |value: &str| {
        let all =
            [login(), secret(&site, "s", value, None)].into_iter().chain(objects(&format!("{HALL}{STRAIGHT}{GRANT}")));
        let resolution = resolved(all, &site);
        let stream = resolution.wanted.streams.iter().find(|stream| stream.name == "hall/in").unwrap().clone();
        for report in &resolution.reports {
            assert!(!format!("{report:?}").contains(value), "{report:?}");
        }
        assert_eq!(stream.redactor.mask(&format!("<{value}>")), "<****>");
        stream.revision
    };
    assert_ne!(run("hunter2-canary"), run("hunter3-canary"));
}

#[test]
fn static_parameters_configs_and_arguments_take_them_too() {
    let site = site();
    let asks = json!([{"kind": "secret", "target": "{static.token}", "reason": "r"}, {"kind": "secret", "target": "{token}", "reason": "r"}]);
    let any = json!({"type": "object"});
    let all = vec![
        component("both", "1.0.0", "b1", &["ingress", "egress"], asks.clone(), &any, &[]),
        component("step", "1.0.0", "b2", &["transform"], asks, &any, &["default"]),
        secret(&site, "s", SECRET, None),
    ];
    let documents = "
kind: Class
metadata: {name: both}
spec: {}
---
kind: Function
metadata: {name: step}
spec: {args: {token: {secret: s, key: password}}}
---
kind: Instance
metadata: {name: hall}
spec: {class: both, static: {token: {secret: s, key: password}}}
---
kind: Config
metadata: {name: c}
spec: {instance: hall, parameters: {level: {secret: s, key: password}}}
---
kind: Stream
metadata: {name: in}
spec: {instance: hall, direction: INGRESS, labels: {measure: heat}}
---
kind: Stream
metadata: {name: out}
spec: {instance: hall, direction: EGRESS}
---
kind: Pipeline
metadata: {name: p}
spec: {source: in, functions: [{function: step}], sink: out}
";
    check_at(&site, all.clone(), documents, &["stream-in: Resolved=False SecretNotGranted", "!run pipeline"]);
    let class = "---\nkind: Grant\nmetadata: {name: g}\nspec: {class: both, allow: [{secret: s}]}\n";
    check_at(
        &site,
        all.clone(),
        &format!("{documents}{class}"),
        &[
            "stream-in: Granted=True",
            "pipeline-p: Resolved=False SecretNotGranted: functions[0]: step would see secret `s`",
        ],
    );
    let function = "---\nkind: Grant\nmetadata: {name: f}\nspec: {function: step, allow: [{secret: '{token}'}]}\n";
    let runs = format!("| step{{\"token\":\"{SECRET}\"}} ->");
    let values = format!("config {{\"level\":\"{SECRET}\"}} static {{\"token\":\"{SECRET}\"}}");
    check_at(&site, all, &format!("{documents}{class}{function}"), &[&runs, &values]);
}

#[test]
fn documents_of_kps_take_them_as_well() {
    let site = site();
    let asks = json!([{"kind": "secret", "target": "{static.token}", "reason": "r"}]);
    let all = vec![
        component("both", "1.0.0", "b1", &["ingress", "egress"], asks, &json!({"type": "object"}), &[]),
        secret(&site, "s", SECRET, None),
    ];
    let documents = r#"
kind: Project
metadata: {name: halls}
spec: {}
---
kind: Class
metadata: {name: both}
spec: {}
---
{"id": "i-1", "name": "hall", "connectorClassID": "class-both", "projectId": "project-halls", "staticParameters": {"token": {"secret": "s", "key": "password"}}}
---
{"name": "c", "connectorInstanceID": "i-1", "config": {"level": {"secret": "s", "key": "password"}}, "serviceDomainIds": []}
---
{"name": "in", "connectorInstanceID": "i-1", "direction": "INGRESS", "stream": {"deep": [{"secret": "s", "key": "password"}]},
 "labels": [{"id": "category-measure", "value": "heat"}], "serviceDomainIds": []}
---
kind: Category
metadata: {name: measure}
spec: {values: [heat]}
---
kind: Stream
metadata: {name: out, namespace: halls}
spec: {instance: hall, direction: EGRESS}
---
kind: Pipeline
metadata: {name: p, namespace: halls}
spec: {source: hall/in, sink: hall/out}
---
kind: Grant
metadata: {name: g}
spec: {class: both, allow: [{secret: s}]}
"#;
    let values = format!(
        "parameters {{\"deep\":[\"{SECRET}\"]}} config {{\"level\":\"{SECRET}\"}} static {{\"token\":\"{SECRET}\"}}"
    );
    check_at(&site, all, documents, &[&values]);
    for object in objects(documents).iter().filter(|object| !object.form.is_native()) {
        let original = object.to_original().to_string();
        assert!(original.contains(r#"{"secret":"s","key":"password"}"#), "{original}");
    }
}
