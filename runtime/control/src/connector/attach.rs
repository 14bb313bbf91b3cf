//! What grants attach for a session, with the secrets in it opened: the host gets the bytes, the guest nothing.

use ferrule_host::{Attached, Attachment, Attachments, Authorization, Keys};
use ferrule_model::connector::{Attach, SigV4, Text, check_place};
use ferrule_model::secret::SecretRef;
use ferrule_model::{Code, Kind, Object};

use super::grant::{self, Asker};
use crate::finding::Problem;
use crate::secrets::{self, Revealed};
use crate::site::Site;
use crate::snapshot::Snapshot;

/// What is attached for a session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resolved {
    pub(crate) attachments: Attachments,
    /// The same for people: where, and what, without values.
    pub(crate) shown: Vec<String>,
    /// Changes when what is attached does, and tells nothing of it.
    pub(crate) told: Vec<String>,
}

/// What all grants for this asker attach. Two for one place are a problem: nobody could say which counts.
pub(crate) fn resolve(snapshot: &Snapshot, site: &Site, asker: &Asker<'_>) -> Result<Resolved, Problem> {
    let mut resolved = Resolved::default();
    let mut attachments = Vec::new();
    let mut places: Vec<(String, String)> = Vec::new();
    for object in snapshot.of(Kind::Grant) {
        let Ok(spec) = grant::read(object) else { continue };
        if !asker.fits(snapshot, object, &spec) {
            continue;
        }
        for (index, entry) in spec.attach.iter().enumerate() {
            let at = format!("grant {}: spec.attach[{index}]", object.name());
            let place = entry.to.to_string();
            if let Some((_, other)) = places.iter().find(|(known, _)| *known == place) {
                let message = format!("{at} and {other} attach to the same place, `{place}`; take one of them away");
                return Err(Problem::new("AttachedTwice", Code::BadGrantEntry, message));
            }
            let mut opener = Opener { snapshot, site, object, at: &at, told: vec![place.clone()] };
            attachments.push(opener.open(entry)?);
            resolved.shown.push(format!("{place} ({})", contents(entry).join(", ")));
            resolved.told.push(opener.told.join(" "));
            places.push((place, at));
        }
    }
    resolved.attachments = attachments.into_iter().collect();
    Ok(resolved)
}

/// What is in an entry, in the words of its fields.
fn contents(entry: &Attach) -> Vec<&'static str> {
    [
        ("server name", entry.server_name.is_some()),
        ("roots", entry.roots.is_some()),
        ("client certificate", entry.certificate.is_some()),
        ("bearer", entry.bearer.is_some()),
        ("basic", entry.basic.is_some()),
        ("header", entry.header.is_some()),
        ("sigv4", entry.sigv4.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, given)| given.then_some(name))
    .collect()
}

/// Opens what one entry of a grant refers to.
struct Opener<'a> {
    snapshot: &'a Snapshot,
    site: &'a Site,
    object: &'a Object,
    at: &'a str,
    told: Vec<String>,
}

impl Opener<'_> {
    fn open(&mut self, entry: &Attach) -> Result<Attachment, Problem> {
        let at = self.at;
        let bad = |detail: String| Problem::new("AttachmentInvalid", Code::BadGrantEntry, format!("{at}: {detail}"));
        let to = check_place(&entry.to).map_err(|detail| bad(format!("to: {detail}")))?;
        let roots = entry.roots.as_ref().map(|text| self.bytes("roots", text)).transpose()?;
        let certificate = match (&entry.certificate, &entry.key) {
            (Some(certificate), Some(key)) => {
                let certificate = self.bytes("certificate", certificate)?;
                Some((certificate, self.reveal("key", key)?.bytes().to_vec()))
            }
            _ => None,
        };
        self.told.extend(entry.server_name.clone());
        let attached = Attached {
            roots,
            server_name: entry.server_name.clone(),
            certificate,
            authorization: self.authorization(entry)?,
        };
        Attachment::new(to, attached).map_err(|error| bad(error.to_string()))
    }

    fn authorization(&mut self, entry: &Attach) -> Result<Option<Authorization>, Problem> {
        if let Some(token) = &entry.bearer {
            return Ok(Some(Authorization::Bearer(self.text("bearer", token)?)));
        }
        if let Some(basic) = &entry.basic {
            self.told.push(basic.user.clone());
            let password = self.text("basic.password", &basic.password)?;
            return Ok(Some(Authorization::Basic { user: basic.user.clone(), password }));
        }
        if let Some(header) = &entry.header {
            self.told.push(header.name.clone());
            let value = self.text("header.value", &header.value)?;
            return Ok(Some(Authorization::Header { name: header.name.clone(), value }));
        }
        entry.sigv4.as_ref().map(|sigv4| self.keys(sigv4).map(Authorization::SigV4)).transpose()
    }

    fn keys(&mut self, sigv4: &SigV4) -> Result<Keys, Problem> {
        self.told.extend([sigv4.region.clone(), sigv4.service.clone()]);
        let access_key = match &sigv4.access_key {
            Text::Plain(text) => {
                self.told.push(text.clone());
                text.clone()
            }
            Text::Secret(reference) => self.text("sigv4.accessKey", reference)?,
        };
        let token = sigv4.session_token.as_ref().map(|token| self.text("sigv4.sessionToken", token));
        Ok(Keys {
            region: sigv4.region.clone(),
            service: sigv4.service.clone(),
            access_key,
            secret_key: self.text("sigv4.secretKey", &sigv4.secret_key)?,
            session_token: token.transpose()?,
        })
    }

    fn bytes(&mut self, field: &str, text: &Text) -> Result<Vec<u8>, Problem> {
        match text {
            Text::Plain(text) => {
                self.told.push(text.clone());
                Ok(text.clone().into_bytes())
            }
            Text::Secret(reference) => Ok(self.reveal(field, reference)?.bytes().to_vec()),
        }
    }

    /// The value without the line break that files end with.
    fn text(&mut self, field: &str, reference: &SecretRef) -> Result<String, Problem> {
        let revealed = self.reveal(field, reference)?;
        let text = revealed.text().map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
        text.ok_or_else(|| {
            let message = format!("{}.{field}: {reference} is not UTF-8", self.at);
            Problem::new("AttachmentInvalid", Code::BadGrantEntry, message)
        })
    }

    fn reveal(&mut self, field: &str, reference: &SecretRef) -> Result<Revealed, Problem> {
        let revealed = secrets::reveal(self.snapshot, &self.site.vault, self.object, reference)
            .map_err(|problem| Problem { message: format!("{}.{field}: {}", self.at, problem.message), ..problem })?;
        self.told.push(revealed.version().to_owned());
        Ok(revealed)
    }
}
