//! What stays as it was when something else changes.

use ferrule_control::Site;

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
