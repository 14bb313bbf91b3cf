//! A connector between MQTT brokers and Ferrule: a source for topic filters and a sink for a topic.
//!
//! The protocol is in modules that do no I/O: [`packet`] (bytes), [`connection`] (handshake and keep-alive), [`intake`] and
//! [`outflow`] (what source and sink do with messages). [`link`] joins them to the host's network, [`source`] and [`sink`] to
//! records.

pub mod backoff;
pub mod connection;
pub mod decode;
pub mod encode;
pub mod intake;
pub mod link;
pub mod outflow;
pub mod pace;
pub mod packet;
pub mod parameters;
pub mod sink;
pub mod source;
pub mod topic;

use ferrule_sdk::{About, Problem};

use parameters::Wrong;
use sink::MqttSink;
use source::MqttSource;

ferrule_sdk::export!(connector: MqttSource, MqttSink);

/// What both directions ask for.
pub(crate) fn about() -> About {
    About::new()
        .capability("tcp", "{broker}", "the MQTT broker that messages come from and go to")
        .capability("secret", "{password}", "MQTT sends the password when it connects")
        .capability("secret", "{username}", "MQTT sends the name when it connects")
}

pub(crate) fn problems(wrong: Vec<Wrong>) -> Vec<Problem> {
    wrong
        .into_iter()
        .map(|wrong| {
            let problem = Problem::stream(wrong.path, wrong.message);
            match wrong.position {
                Some((line, column)) => problem.at(line, column),
                None => problem,
            }
        })
        .collect()
}
