//! Who a domain's elements are and whom they believe: told at their start, and again before it runs out or when the
//! authority's roots or lists change. An element keeps its key for its life; the certificate over it is made anew.

use std::collections::BTreeMap;
use std::time::SystemTime;

use anyhow::Result;
use ringmail_model::names::Name;
use ringmail_trust::limits::ELEMENT_LASTS;
use ringmail_trust::{Authority, Certificates, EmbeddedCa, TrustBundle};
use rustls_pki_types::CertificateSigningRequestDer;

use crate::conductor::blobs;
use crate::control::{Blob, ToElement};

/// What the elements that run were told last, by name.
#[derive(Debug, Default)]
pub(crate) struct Identities(BTreeMap<String, Told>);

#[derive(Debug)]
struct Told {
    /// What the element asked for, with its key.
    request: Blob,
    certificates: Certificates,
    /// When they were made.
    made: SystemTime,
    bundle: TrustBundle,
}

impl Identities {
    /// The certificates of an element that begins, and whom it believes.
    pub(crate) fn begin(
        &mut self,
        authority: &EmbeddedCa,
        name: &str,
        request: &Blob,
    ) -> Result<(Certificates, TrustBundle)> {
        let certificates = sign(authority, name, request)?;
        let bundle = authority.trust_bundle()?;
        let (made, request) = (SystemTime::now(), request.clone());
        let told =
            Told { request, certificates: certificates.clone(), made, bundle: bundle.clone() };
        self.0.insert(name.to_owned(), told);
        Ok((certificates, bundle))
    }

    /// Forgets elements that are none any more.
    pub(crate) fn retain(&mut self, known: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| known(name));
    }

    /// What has to be told anew, and to whom: a certificate when half of its time is over or another root signs; roots and
    /// lists when they are others.
    pub(crate) fn renew(
        &mut self,
        authority: &EmbeddedCa,
        now: SystemTime,
    ) -> Result<Vec<(String, ToElement)>> {
        let bundle = authority.trust_bundle()?;
        let mut news = Vec::new();
        for (name, told) in &mut self.0 {
            let other_root = bundle.roots.first() != told.bundle.roots.first();
            let old = now.duration_since(told.made).is_ok_and(|age| age >= ELEMENT_LASTS / 2);
            if old || other_root {
                told.certificates = sign(authority, name, &told.request)?;
                told.made = now;
            } else if bundle == told.bundle {
                continue;
            }
            told.bundle = bundle.clone();
            let message = ToElement::Renewed {
                certificate_chain: blobs(&told.certificates.chain),
                trust_anchors: blobs(&bundle.roots),
                crls: blobs(&bundle.crls),
            };
            news.push((name.clone(), message));
        }
        Ok(news)
    }
}

fn sign(authority: &EmbeddedCa, name: &str, request: &Blob) -> Result<Certificates> {
    let request = CertificateSigningRequestDer::from(request.0.as_slice());
    Ok(authority.sign_element(&name.parse::<Name>()?, &request)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use ringmail_trust::ElementKey;

    use super::*;

    #[test]
    fn an_element_hears_in_time_of_what_is_new() {
        let folder = std::env::temp_dir().join(format!("ringmail-renewed-{}", std::process::id()));
        let domain = "campus.example".parse().expect("a domain");
        let authority = EmbeddedCa::init(&folder, &domain).expect("an authority");
        let key = ElementKey::generate().expect("a key");
        let name: Name = "sf1".parse().expect("a name");
        let request = key.signing_request(&domain, &name).expect("a request").to_vec().into();
        let mut identities = Identities::default();
        let (first, _) = identities.begin(&authority, "sf1", &request).expect("an identity");
        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        let chain = |news: Vec<(String, ToElement)>| match &news[..] {
            [] => None,
            [(_, ToElement::Renewed { certificate_chain, trust_anchors, crls })] => {
                Some((certificate_chain[0].0.clone(), trust_anchors.len(), crls.len()))
            }
            other => panic!("{other:?}"),
        };
        let mut renewed = |at| chain(identities.renew(&authority, at).expect("it is looked at"));
        assert_eq!(renewed(now + 11 * hour), None);
        let (second, ..) = renewed(now + 13 * hour).expect("a certificate");
        assert_ne!(second, first.chain[0].to_vec());
        assert_eq!(renewed(now + 14 * hour), None, "until its time comes");
        // Lists and roots that change are told at once, with the certificate that there is.
        authority.revoke("element/sf1").expect("it is revoked");
        assert_eq!(renewed(now + 14 * hour), Some((second.clone(), 1, 1)));
        authority.rotate_begin().expect("a root to come");
        assert_eq!(renewed(now + 14 * hour), Some((second.clone(), 2, 2)));
        authority.rotate_switch(true).expect("it signs");
        let (third, ..) = renewed(now + 14 * hour).expect("a certificate of the new root");
        assert_ne!(third, second);
        assert_eq!(renewed(now + 14 * hour), None);
        identities.retain(|_| false);
        assert!(identities.renew(&authority, now + 48 * hour).expect("nobody").is_empty());
        fs::remove_dir_all(folder).expect("it is ours");
    }
}
