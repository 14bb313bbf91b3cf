//! Data pipelines as the KPS REST API has them.

use serde_json::{Value, json};

use super::{one, wrong};
use crate::{Code, Kind};

#[test]
fn a_pipeline_of_the_rest_api_is_read_and_given_back() {
    let text = r#"{"name":"alarms","projectId":"p1","origin":"Data Source",
        "originSelectors":[{"id":"c1","value":"heat"},{"id":"c1","value":"damp"}],
        "transformationArgsList":[{"transformationId":"f1","args":[{"name":"limit","type":"string","value":"30"}]}],
        "destination":"Edge","edgeStreamType":"Connector","endPoint":"hall-1-alarms","enableSampling":true,"samplingInterval":2,
        "dataType":"","dataRetention":[],"size":0}"#;
    let pipeline = one("p.json", text);
    assert_eq!((pipeline.kind, pipeline.name()), (Kind::Pipeline, "alarms"));
    assert_eq!(
        pipeline.spec,
        json!({
            "project": {"uid": "p1"}, "selectors": {"c1": ["heat", "damp"]}, "sink": {"name": "hall-1-alarms"},
            "functions": [{"function": {"uid": "f1"}, "args": {"limit": "30"}}], "samplingInterval": "2s",
        })
    );
    assert_eq!(pipeline.to_original(), serde_json::from_str::<Value>(text).unwrap());
    assert_eq!(pipeline.path("functions[0].args.limit"), "transformationArgsList[0].args.limit");
    let of_another =
        text.replace("Data Source", "Data Stream").replace("\"dataType\"", "\"originId\":\"q1\",\"dataType\"");
    assert_eq!(one("p.json", &of_another).spec["inputPipeline"], json!({"uid": "q1"}));
    let kafka = one("p.json", &text.replace("\"Connector\"", "\"Kafka\""));
    assert_eq!(kafka.spec["external"], json!({"place": "localEdge", "type": "Kafka", "endpointName": "hall-1-alarms"}));
    let bare = r#"{"name":"p","edgeStreamType":"Connector"}"#;
    let missing =
        [(Code::MissingField, "origin"), (Code::MissingField, "destination"), (Code::MissingField, "endPoint")];
    wrong("p.json", bare, &missing);
    let nothing = text.replace(r#"{"id":"c1","value":"heat"},{"id":"c1","value":"damp"}"#, "");
    wrong("p.json", &nothing, &[(Code::FieldsExclude, "originSelectors")]);
}
