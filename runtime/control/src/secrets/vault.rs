//! Seals values for the disk, and opens them: XChaCha20-Poly1305 with one key for the server.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use ferrule_model::Uid;
use ferrule_model::secret::SEALED;
use zeroize::Zeroizing;

/// Bytes of a key.
const KEY: usize = 32;

/// Bytes of a nonce. So many that a random one never comes twice.
const NONCE: usize = 24;

/// Seals and opens with a key. Cheap to clone. The default one has no key, and opens nothing.
#[derive(Clone, Default)]
pub struct Vault(Option<Arc<XChaCha20Poly1305>>);

/// A text that is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it does not hold a key, which is 64 hexadecimal digits; `openssl rand -hex 32` makes one")]
pub struct BadKey;

/// Why a value cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// There is no key.
    #[error("there is no key to open secrets with")]
    NoKey,
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
    /// It is not a sealed value of this release.
    #[error("it is not in a form that this release knows")]
    Form,
    /// Another key, or it was changed, or it was moved here from another secret or key.
    #[error("it was sealed with another key, or was changed since")]
    Key,
}

impl Vault {
    /// With the key in this text: 64 hexadecimal digits.
    pub fn new(text: &str) -> Result<Self, BadKey> {
        let text = text.trim().as_bytes();
        let mut key = Zeroizing::new([0; KEY]);
        if text.len() != 2 * KEY {
            return Err(BadKey);
        }
        for (byte, digits) in key.iter_mut().zip(text.chunks(2)) {
            let digits =
                std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).ok_or(BadKey)?;
        }
        Ok(Self(Some(Arc::new(XChaCha20Poly1305::new((&*key).into())))))
    }

    /// The text of a new key.
    pub fn new_key() -> Result<Zeroizing<String>, VaultError> {
        let mut key = Zeroizing::new([0; KEY]);
        getrandom::fill(&mut *key).map_err(|_| VaultError::NoRandom)?;
        Ok(Zeroizing::new(key.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// Seals the value `key` of the secret with this id.
    pub fn seal(&self, uid: &Uid, key: &str, value: &[u8]) -> Result<String, VaultError> {
        let cipher = self.0.as_ref().ok_or(VaultError::NoKey)?;
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| VaultError::NoRandom)?;
        let payload = Payload { msg: value, aad: &about(uid, key) };
        let sealed = cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| VaultError::Form)?;
        Ok(format!("{SEALED}{}", STANDARD.encode([&nonce, sealed.as_slice()].concat())))
    }

    /// Opens it again.
    pub fn open(&self, uid: &Uid, key: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let cipher = self.0.as_ref().ok_or(VaultError::NoKey)?;
        let bytes = sealed.strip_prefix(SEALED).and_then(|text| STANDARD.decode(text).ok()).ok_or(VaultError::Form)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>().ok_or(VaultError::Form)?;
        let payload = Payload { msg: sealed, aad: &about(uid, key) };
        cipher.decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| VaultError::Key)
    }
}

/// What a sealed value is bound to: nobody can move it to another secret or key.
fn about(uid: &Uid, key: &str) -> Vec<u8> {
    format!("{uid}\n{key}").into_bytes()
}

impl PartialEq for Vault {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }
}

impl Eq for Vault {}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Vault(..)" } else { "Vault(no key)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Vault {
        Vault::new(&Vault::new_key().unwrap()).unwrap()
    }

    #[test]
    fn what_is_sealed_is_opened_with_its_key_and_in_its_place_only() {
        let (vault, uid) = (vault(), Uid::from("u-1"));
        for value in [b"hunter2".as_slice(), b"", &[0xff, 0]] {
            let sealed = vault.seal(&uid, "password", value).unwrap();
            assert!(sealed.starts_with("sealed:v1:"), "{sealed}");
            assert_eq!(vault.open(&uid, "password", &sealed).unwrap().as_slice(), value);
            assert_ne!(vault.seal(&uid, "password", value).unwrap(), sealed, "each time another");
            assert_eq!(self::vault().open(&uid, "password", &sealed), Err(VaultError::Key), "another key");
            assert_eq!(vault.open(&Uid::from("u-2"), "password", &sealed), Err(VaultError::Key), "another secret");
            assert_eq!(vault.open(&uid, "user", &sealed), Err(VaultError::Key), "another key of the secret");
            assert_eq!(Vault::default().open(&uid, "password", &sealed), Err(VaultError::NoKey));
        }
        assert_eq!(Vault::default().seal(&uid, "password", b"x"), Err(VaultError::NoKey));
    }

    #[test]
    fn what_is_cut_or_changed_is_not_opened() {
        let (vault, uid) = (vault(), Uid::from("u-1"));
        let sealed = vault.seal(&uid, "k", b"hunter2").unwrap();
        let bytes = STANDARD.decode(sealed.strip_prefix(SEALED).unwrap()).unwrap();
        let of = |bytes: &[u8]| vault.open(&uid, "k", &format!("{SEALED}{}", STANDARD.encode(bytes)));
        assert_eq!(of(&bytes).unwrap().as_slice(), b"hunter2");
        for length in 0..bytes.len() {
            assert!(of(&bytes[..length]).is_err(), "{length}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(of(&changed), Err(VaultError::Key), "{at}");
        }
        for text in ["hunter2", "sealed:v1:", "sealed:v1:?", "sealed:v2:aGVsbG8="] {
            assert_eq!(vault.open(&uid, "k", text), Err(VaultError::Form), "{text}");
        }
    }

    #[test]
    fn a_key_is_a_text_that_nobody_shows() {
        let text = Vault::new_key().unwrap();
        assert_eq!(text.len(), 64);
        let vault = Vault::new(&format!("{}\n", *text)).unwrap();
        assert_eq!(vault, vault.clone());
        assert_ne!(vault, Vault::new(&text).unwrap());
        assert!(!format!("{vault:?}").contains(&text[..8]));
        for bad in ["", "00", &"+0".repeat(32), &"zz".repeat(32), &format!("{}00", *text)] {
            assert_eq!(Vault::new(bad).unwrap_err(), BadKey);
        }
    }
}
