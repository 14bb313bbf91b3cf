//! What stays as it was when something else changes.

use ferrule_control::Site;
use ferrule_model::Object;
use ferrule_model::lookup::MOVED;

use crate::setup::{STRAIGHT, components, hall, lines, objects, resolved};

#[test]
fn what_was_chosen_stays_until_it_is_gone() {
    let mut all = objects(&hall(STRAIGHT));
    let old: Vec<_> = components().into_iter().filter(|component| component.version() != Some("1.2.0")).collect();
    let first = resolved(old.iter().cloned().chain(all.iter().cloned()), &Site::default());
    assert!(lines(&first).iter().any(|line| line.contains("hall/in by mqtt@1.0.0")), "{:?}", lines(&first));
    for object in &mut all {
        let report = first.report(object.kind, object.uid()).unwrap();
        object.status = report.status(&object.status, jiff::Timestamp::UNIX_EPOCH);
    }
    let later = resolved(components().into_iter().chain(all.iter().cloned()), &Site::default());
    assert!(
        lines(&later).iter().any(|line| line.contains("hall/in by mqtt@1.0.0")),
        "a new version changes nothing that runs"
    );
    assert_eq!(first.wanted, later.wanted);
    let replaced: Vec<_> = components().into_iter().filter(|component| component.version() != Some("1.0.0")).collect();
    let moved = resolved(replaced.into_iter().chain(all), &Site::default());
    assert!(lines(&moved).iter().any(|line| line.contains("hall/in by mqtt@1.2.0")), "what is gone cannot stay");
}

#[test]
fn the_users_of_a_name_stay_with_a_version_until_they_are_moved() {
    let of_version = |version: &str, digest: &str, moved: u64| {
        let text = format!(
            "kind: Class
metadata: {{name: mqtt, uid: class-{version}}}
spec: {{version: {version}, component: 'sha256:{digest}'}}
---
kind: Function
metadata: {{name: pick, uid: function-{version}}}
spec: {{version: {version}, component: sieve, args: {{over: {moved}}}}}
"
        );
        let mut objects = objects(&text);
        for object in &mut objects {
            object.metadata.annotations.insert(MOVED.to_owned(), moved.to_string());
        }
        objects
    };
    let pipeline = STRAIGHT.replace("source: in", "source: in, functions: [{function: pick}]");
    let rest =
        |uid: &str| objects(&hall(&pipeline)).into_iter().filter(|object| object.uid().as_str() != uid).collect();
    let mut rest: Vec<_> = rest("class-mqtt");
    let mut run = |versions: Vec<Object>, component: &str, function: &str| {
        let all = components().into_iter().chain(versions).chain(rest.iter().cloned());
        let resolution = resolved(all, &Site::default());
        let lines = lines(&resolution);
        assert!(lines.iter().any(|line| line.contains(&format!("hall/in by mqtt@{component}"))), "{lines:#?}");
        assert!(lines.iter().any(|line| line.contains("run pipeline p: ")), "{lines:#?}");
        for object in &mut rest {
            let report = resolution.report(object.kind, object.uid()).unwrap();
            object.status = report.status(&object.status, jiff::Timestamp::UNIX_EPOCH);
        }
        let pins = rest.iter().find_map(|object| object.status.details.get("pins")?.get("function pick")).cloned();
        assert_eq!(pins, Some(function.into()));
    };
    let (one, two) = (|moved| of_version("1.0.0", "a1", moved), |moved| of_version("1.2.0", "a2", moved));
    run(one(0), "1.0.0", "function-1.0.0");
    run([one(0), two(0)].concat(), "1.0.0", "function-1.0.0");
    run([one(0), two(1)].concat(), "1.2.0", "function-1.2.0");
    run([one(2), two(1)].concat(), "1.0.0", "function-1.0.0");
    run([one(2), two(3)].concat(), "1.2.0", "function-1.2.0");
    // What they were moved to is gone: of what is left, the last that they were moved to.
    run(one(2), "1.0.0", "function-1.0.0");
}

#[test]
fn revisions_change_with_what_matters() {
    let of = |documents: &str| resolved(components().into_iter().chain(objects(documents)), &Site::default()).wanted;
    let base = of(&hall(STRAIGHT));
    let stream = |wanted: &ferrule_control::Wanted| {
        wanted.streams.iter().find(|stream| stream.name == "hall/in").unwrap().revision.clone()
    };
    for (documents, stream_differs, pipeline_differs) in [
        (hall(STRAIGHT).replace("topic: a", "topic: c"), true, false),
        (hall(STRAIGHT).replace("topic: b", "topic: c"), false, false),
        (hall(STRAIGHT).replace("sink: out", "sink: out, paused: true"), false, false),
        (hall(STRAIGHT).replace("sink: out", "sink: out, batch: {records: 7}"), false, true),
        (
            hall(&format!(
                "kind: Config\nmetadata: {{name: c}}\nspec: {{instance: hall, parameters: {{a: 1}}}}\n---\n{STRAIGHT}"
            )),
            false,
            false,
        ),
        (
            hall(&format!(
                "kind: Grant\nmetadata: {{name: g}}\nspec: {{class: mqtt, allow: [{{tcp: '{{broker}}'}}]}}\n---\n{STRAIGHT}"
            )),
            true,
            false,
        ),
    ] {
        let changed = of(&documents);
        assert_ne!(changed, base, "{documents}");
        assert_eq!(stream(&changed) != stream(&base), stream_differs, "{documents}");
        assert_eq!(changed.pipelines[0].revision != base.pipelines[0].revision, pipeline_differs, "{documents}");
    }
}
