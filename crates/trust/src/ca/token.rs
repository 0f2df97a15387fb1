//! Tokens: what an element enrols with once, before it has a certificate.
//!
//! A token is a secret and the fingerprint of the root, so that both sides of the first connection know each other. The
//! authority keeps a hash of the secret, and forgets it when it is used or its time is over.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use ringmail_model::names::{Name, TrustDomain};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::state::State;
use super::vouch::parsed;
use super::{EmbeddedCa, bad};
use crate::error::AuthorityError;
use crate::identity::Certificates;
use crate::limits;

/// The file of the hashes.
const TOKENS: &str = "tokens.json";

/// What the text of a token begins with.
const PREFIX: &str = "ringmail-token-1";

/// Leave to enrol as one element of one domain, once.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The domain.
    pub trust_domain: TrustDomain,
    /// The element.
    pub element: Name,
    /// SHA-256 of the root certificate, by which control is known.
    pub root_sha256: [u8; 32],
    /// What only the element and the authority know.
    secret: Zeroizing<[u8; 32]>,
}

/// What is remembered of a token, under the hash of its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pending {
    element: Name,
    not_after_unix_s: u64,
}

impl Token {
    /// A token with a new secret.
    pub(crate) fn generate(
        trust_domain: TrustDomain,
        element: Name,
        root_sha256: [u8; 32],
    ) -> Result<Token, AuthorityError> {
        let mut secret = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut secret[..]).map_err(|_| AuthorityError::Signature)?;
        Ok(Token { trust_domain, element, root_sha256, secret })
    }

    /// The secret, to be shown to control over an authenticated connection.
    pub fn danger_secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// Whether a root certificate is the one that the token names.
    pub fn names_root(&self, root: &CertificateDer<'_>) -> bool {
        digest(&SHA256, root).as_ref() == self.root_sha256
    }

    /// The token as an operator carries it from one machine to another.
    pub fn danger_text(&self) -> String {
        let Token { trust_domain, element, root_sha256, secret } = self;
        format!("{PREFIX}:{trust_domain}:{element}:{}:{}", hex(root_sha256), hex(&secret[..]))
    }
}

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Token, String> {
        let none = || format!("this is no token: one begins with `{PREFIX}:`");
        let parts: Vec<&str> = text.trim().split(':').collect();
        let [PREFIX, domain, element, root, secret] = parts[..] else { return Err(none()) };
        Ok(Token {
            trust_domain: domain.parse().map_err(|_| none())?,
            element: element.parse().map_err(|_| none())?,
            root_sha256: unhex(root).ok_or_else(none)?,
            secret: Zeroizing::new(unhex(secret).ok_or_else(none)?),
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("element", &self.element).finish_non_exhaustive()
    }
}

impl EmbeddedCa {
    /// A new token for an element, good for this long.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn token(&self, element: &Name, lasts: Duration) -> Result<Token, AuthorityError> {
        if lasts.is_zero() || lasts > limits::TOKEN_LASTS_MAX {
            let most = limits::TOKEN_LASTS_MAX.as_secs() / 60;
            return Err(bad(format!("a token lasts from one minute to {most} minutes")));
        }
        let mut secret = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut secret[..]).map_err(|_| AuthorityError::Signature)?;
        let mut root_sha256 = [0; 32];
        let _locked = self.store.lock()?;
        let root = self.issuing(&State::load(&self.store)?)?.certificate;
        root_sha256.copy_from_slice(digest(&SHA256, &root).as_ref());
        let mut pending = self.pending()?;
        if pending.len() >= limits::TOKENS {
            return Err(AuthorityError::Full(limits::TOKENS));
        }
        let not_after_unix_s = self.now_unix_s().saturating_add(lasts.as_secs());
        pending.insert(hashed(&secret), Pending { element: element.clone(), not_after_unix_s });
        self.save_pending(&pending)?;
        let (trust_domain, element) = (self.trust_domain.clone(), element.clone());
        Ok(Token { trust_domain, element, root_sha256, secret })
    }

    /// A certificate for an element that shows its token's secret. The token is spent with it.
    ///
    /// # Errors
    /// [`AuthorityError::BadToken`] when the secret is unknown, spent, too old or another element's;
    /// [`AuthorityError::BadSigningRequest`], and then the token is not spent.
    pub fn enrol(
        &self,
        element: &Name,
        secret: &[u8; 32],
        request: &CertificateSigningRequestDer<'_>,
    ) -> Result<Certificates, AuthorityError> {
        let request = parsed(element, request)?;
        let _locked = self.store.lock()?;
        let mut pending = self.pending()?;
        let refused = || AuthorityError::BadToken { element: element.to_string() };
        // A lookup by hash: how long it takes says nothing about a secret that nobody has.
        let key = hashed(secret);
        if pending.get(&key).is_none_or(|found| found.element != *element) {
            return Err(refused());
        }
        pending.remove(&key);
        self.save_pending(&pending)?;
        self.certify_element(element, &request)
    }

    /// The tokens that may still be used.
    fn pending(&self) -> Result<BTreeMap<String, Pending>, AuthorityError> {
        if !self.store.has(TOKENS) {
            return Ok(BTreeMap::new());
        }
        let mut pending: BTreeMap<String, Pending> =
            serde_json::from_str(&self.store.read(TOKENS)?).map_err(|error| {
                AuthorityError::Damaged { path: self.store.path(TOKENS), reason: error.to_string() }
            })?;
        let now_unix_s = self.now_unix_s();
        pending.retain(|_, token| token.not_after_unix_s >= now_unix_s);
        Ok(pending)
    }

    fn save_pending(&self, pending: &BTreeMap<String, Pending>) -> Result<(), AuthorityError> {
        let text = serde_json::to_string_pretty(pending).map_err(|error| {
            AuthorityError::Damaged { path: self.store.path(TOKENS), reason: error.to_string() }
        })?;
        self.store.write(TOKENS, &(text + "\n"))
    }
}

fn hashed(secret: &[u8; 32]) -> String {
    let message = [b"ringmail token 1\0".as_slice(), secret].concat();
    hex(digest(&SHA256, &Zeroizing::new(message)).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut bytes = [0; 32];
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    if pairs.len() != bytes.len() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}
