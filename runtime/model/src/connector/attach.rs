//! What the host attaches for a guest: trust, a client certificate, credentials for HTTP. The guest never sees any of it.

use serde::{Deserialize, Serialize};

use crate::capability::{Ability, AbilityKind, Allowance, Range, TargetError};
use crate::secret::SecretRef;
use crate::shape::{Check, Field, Shape, field, needed};
use crate::{Code, Diagnostic};

/// An entry of `attach`: what is added to connections or requests that go to one host and port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attach {
    /// Where: `{tls: "host:port"}`, `{https: "host:port"}`, or on this machine `{http: "localhost:port"}`.
    pub to: Allowance,
    /// The name that the server's certificate must carry, in place of the host in `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The authorities to trust there, in place of the system's, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<Text>,
    /// The client certificate with its chain, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Text>,
    /// Its private key, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SecretRef>,
    /// A token for `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<SecretRef>,
    /// A login for `Authorization: Basic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<Basic>,
    /// A header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<Header>,
    /// AWS Signature Version 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sigv4: Option<SigV4>,
}

/// A text that need not be secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a text, or {secret: ..., key: ...}")]
pub enum Text {
    /// In a secret.
    Secret(SecretRef),
    /// Here.
    Plain(String),
}

/// A login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basic {
    /// The user.
    pub user: String,
    /// The password.
    pub password: SecretRef,
}

/// A header of an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: SecretRef,
}

/// How requests to AWS are signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SigV4 {
    /// Such as `eu-central-1`.
    pub region: String,
    /// Such as `s3`.
    pub service: String,
    /// The access key's id.
    pub access_key: Text,
    /// The secret access key.
    pub secret_key: SecretRef,
    /// For temporary keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<SecretRef>,
}

const SECRET: Shape = Shape::Record(&[needed("secret", Shape::Filled), needed("key", Shape::Filled)]);

/// The fields of an entry.
pub(crate) const FIELDS: &[Field] = &[
    needed("to", Shape::AttachedTo),
    field("serverName", Shape::Filled),
    field("roots", Shape::Any),
    field("certificate", Shape::Any),
    field("key", SECRET),
    field("bearer", SECRET),
    field("basic", Shape::Record(&[needed("user", Shape::Filled), needed("password", SECRET)])),
    field("header", Shape::Record(&[needed("name", Shape::Filled), needed("value", SECRET)])),
    field(
        "sigv4",
        Shape::Record(&[
            needed("region", Shape::Filled),
            needed("service", Shape::Filled),
            needed("accessKey", Shape::Any),
            needed("secretKey", SECRET),
            field("sessionToken", SECRET),
        ]),
    ),
];

/// Checks where something is attached: one host and one port, encrypted unless it is this machine.
pub fn check_place(to: &Allowance) -> Result<Ability, String> {
    let kinds = "expected one of tls, https and, for this machine, http, and one host and port";
    if to.is_template() {
        return Err(format!("{kinds}; a parameter may stand for any host, and what is attached is meant for one"));
    }
    let ability = Ability::parse(to.kind, &to.target).map_err(|error: TargetError| error.to_string())?;
    match to.kind {
        AbilityKind::Tls | AbilityKind::Https | AbilityKind::Http if !ability.is_literal() => {
            Err(format!("{kinds}: no wildcard, network or range"))
        }
        AbilityKind::Http if ability.range() != Range::Loopback => {
            Err("over http everybody on the way could read what is attached; use https".to_owned())
        }
        AbilityKind::Tls | AbilityKind::Https | AbilityKind::Http => Ok(ability),
        _ => Err(kinds.to_owned()),
    }
}

impl Attach {
    /// Checks what the fields' forms do not say.
    pub(crate) fn validate(&self, check: &mut Check, path: &str) {
        let credentials = [
            ("bearer", self.bearer.is_some()),
            ("basic", self.basic.is_some()),
            ("header", self.header.is_some()),
            ("sigv4", self.sigv4.is_some()),
        ];
        let given = credentials.iter().filter(|(_, given)| *given).count();
        if given > 1 {
            check.choice(path, &credentials, false);
        }
        let mut wrong = |path: &str, message: &str, help: &str| {
            check.add(Diagnostic::new(Code::BadGrantEntry, message).at(path).help(help));
        };
        if self.certificate.is_some() != self.key.is_some() {
            let help =
                "write both: the certificate as PEM or {secret: ..., key: ...}, and the key as {secret: ..., key: ...}";
            wrong(path, "`certificate` and `key` belong together, and one is missing", help);
        }
        if given == 0 && self.server_name.is_none() && self.roots.is_none() && self.certificate.is_none() {
            let help = "add `roots`, `serverName`, `certificate` and `key`, `bearer`, `basic`, `header` or `sigv4`";
            wrong(path, "nothing is attached", help);
        }
        if self.to.kind == AbilityKind::Tls && given > 0 {
            let help = "attach it to https";
            wrong(path, "what is put on HTTP requests cannot be attached to tls, which carries anything", help);
        }
        if self.to.kind == AbilityKind::Http && (self.roots.is_some() || self.certificate.is_some()) {
            wrong(path, "there is no TLS over http", "attach it to https or tls");
        }
    }
}
