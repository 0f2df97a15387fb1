//! Handshakes in memory: who is let in with what the authority gives out, and who is not once revoked.

use std::sync::Arc;

use ringmail_trust::{Authority, ElementKey, EmbeddedCa, Identity, TrustBundle};
use rustls::client::WebPkiServerVerifier;
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Error, ServerConfig, ServerConnection,
};

use crate::harness::{Place, authority, client, domain, name, server};

fn server_config(bundle: &TrustBundle, identity: &Identity) -> Arc<ServerConfig> {
    let verifier = WebPkiClientVerifier::builder(bundle.root_store().unwrap())
        .with_crls(bundle.crls.clone())
        .build()
        .unwrap();
    let (chain, key) = identity.for_tls();
    let config = ServerConfig::builder().with_client_cert_verifier(verifier);
    Arc::new(config.with_single_cert(chain, key).unwrap())
}

fn client_config(bundle: &TrustBundle, identity: &Identity) -> Arc<ClientConfig> {
    let verifier = WebPkiServerVerifier::builder(bundle.root_store().unwrap())
        .with_crls(bundle.crls.clone())
        .build()
        .unwrap();
    let (chain, key) = identity.for_tls();
    let config = ClientConfig::builder().with_webpki_verifier(verifier);
    Arc::new(config.with_client_auth_cert(chain, key).unwrap())
}

/// Shakes hands; the first error of either side.
fn handshake(bundle: &TrustBundle, server: &Identity, client: &Identity) -> Result<(), Error> {
    let host = "www.campus.example".try_into().unwrap();
    let mut server = ServerConnection::new(server_config(bundle, server)).unwrap();
    let mut client = ClientConnection::new(client_config(bundle, client), host).unwrap();
    while server.is_handshaking() || client.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

fn both(ca: &EmbeddedCa) -> (Identity, Identity) {
    let web = ca.issue(&server("web", &["www.campus.example"])).unwrap();
    let alice = ca.issue(&client("alice", &[])).unwrap();
    (web.identity, alice.identity)
}

#[test]
fn a_client_is_let_in_until_it_is_revoked() {
    let place = Place::new();
    let ca = authority(&place);
    let (web, alice) = both(&ca);
    handshake(&ca.trust_bundle().unwrap(), &web, &alice).unwrap();
    ca.revoke("client/alice").unwrap();
    let refused = handshake(&ca.trust_bundle().unwrap(), &web, &alice).unwrap_err();
    assert_eq!(refused, Error::InvalidCertificate(CertificateError::Revoked));
}

#[test]
fn a_revoked_server_is_refused() {
    let place = Place::new();
    let ca = authority(&place);
    let (web, alice) = both(&ca);
    ca.revoke("server/web").unwrap();
    let refused = handshake(&ca.trust_bundle().unwrap(), &web, &alice).unwrap_err();
    assert_eq!(refused, Error::InvalidCertificate(CertificateError::Revoked));
}

#[test]
fn another_authority_of_the_same_domain_counts_for_nothing() {
    let (place, elsewhere) = (Place::new(), Place::new());
    let (ca, other) = (authority(&place), authority(&elsewhere));
    let (web, _) = both(&ca);
    let (_, stranger) = both(&other);
    assert!(handshake(&ca.trust_bundle().unwrap(), &web, &stranger).is_err());
}

#[test]
fn an_element_is_no_web_server_and_a_client_none_either() {
    let place = Place::new();
    let ca = authority(&place);
    let (_, alice) = both(&ca);
    let key = ElementKey::generate().unwrap();
    let request = key.signing_request(&domain(), &name("sf1")).unwrap();
    let element = key.into_identity(ca.sign_element(&name("sf1"), &request).unwrap());
    let bundle = ca.trust_bundle().unwrap();
    assert!(handshake(&bundle, &element, &alice).is_err(), "its certificate has no host name");
    assert!(handshake(&bundle, &alice, &alice).is_err());
}
