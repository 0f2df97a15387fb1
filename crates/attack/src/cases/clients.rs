//! Clients whose certificates do not (or no longer) entitle them to anything.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use ringmail_model::defence::Defence;
use rustls::HandshakeKind;
use rustls_pki_types::PrivatePkcs8KeyDer;

use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::client::{Client, Papers};
use crate::domain;
use crate::lab::Lab;

pub(super) const CASES: &[Case] = &[
    Case {
        attack: "client-without-certificate",
        row: Row::Authentication,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::ClientCertificate])),
        expected: "who shows no certificate does not reach HTTP",
        run: without,
    },
    Case {
        attack: "client-of-another-authority",
        row: Row::Authentication,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::ClientIssuer])),
        expected: "a certificate in a client's name from another authority does not reach HTTP",
        run: other_authority,
    },
    Case {
        attack: "client-revoked-in-mid-connection",
        row: Row::Authentication,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::ClientRevocation])),
        expected: "an open connection ends when its client's certificate is revoked",
        run: revoked,
    },
    Case {
        attack: "client-past-its-certificate",
        row: Row::Authentication,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::ClientExpiry])),
        expected: "an open connection ends with its client's certificate",
        run: expired,
    },
    Case {
        attack: "client-session-resumed",
        row: Row::ForwardSecrecy,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::ClientResumption])),
        expected: "no TLS session of a client is resumed, with keys of before and past the check of its certificate",
        run: resumed,
    },
];

/// A certificate for a URI by an authority of the attacker's own.
pub(super) fn self_made(uri: &str) -> Result<Papers> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let root = Issuer::new(params, key);
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &root)?;
    Ok((vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}

/// Whether there is an answer of HTTP at all.
fn answered(lab: &mut Lab, client: &Client) -> Result<Trial> {
    let honest = lab.client("mallory")?;
    lab.control(&honest, "/public/page")?;
    Ok(match lab.get(client, "/public/page") {
        Ok(status) => Trial::of(true, format!("HTTP answers {status}")),
        Err(error) => Trial::of(false, format!("{error:#}")),
    })
}

fn without(lab: &mut Lab) -> Result<Trial> {
    let nobody = lab.client_with("mallory", None)?;
    answered(lab, &nobody)
}

fn other_authority(lab: &mut Lab) -> Result<Trial> {
    let identity = self_made(&format!("spiffe://{}/client/mallory", domain::NAME))?;
    let stranger = lab.client_with("mallory", Some(identity))?;
    answered(lab, &stranger)
}

fn revoked(lab: &mut Lab) -> Result<Trial> {
    let mallory = lab.client("mallory")?;
    let mut connection = lab.connect(&mallory)?;
    let status = connection.get(domain::WWW, "/public/page")?;
    ensure!(status == 200, "before it is revoked the client gets {status}");
    lab.authority().revoke("mallory")?;
    lab.block_on(lab.handle().read_lists("gateway"))?;
    let revoked = lab.counter("gateway", "connections_revoked")?;
    Ok(match connection.get(domain::WWW, "/public/again") {
        Ok(status) => {
            Trial::of(lab.www.saw("/public/again"), format!("the next request gets {status}"))
        }
        Err(_) => {
            Trial::of(false, format!("the connection is cut; the gateway counts {revoked} such"))
        }
    })
}

/// The certificate holds for two seconds, the connection is kept busy for longer.
fn expired(lab: &mut Lab) -> Result<Trial> {
    const HOLDS: Duration = Duration::from_secs(2);
    const LONGER: u32 = 30;
    let mallory = lab.client_for("mallory", HOLDS)?;
    let mut connection = lab.connect(&mallory)?;
    let status = connection.get(domain::WWW, "/public/page")?;
    ensure!(status == 200, "while it holds the client gets {status}");
    for _ in 0..LONGER {
        std::thread::sleep(Duration::from_millis(200));
        if connection.get(domain::WWW, "/public/page").is_err() {
            let cut = lab.counter("gateway", "connections_expired")?;
            return Ok(Trial::of(
                false,
                format!("the connection is cut; the gateway counts {cut} such"),
            ));
        }
    }
    let seconds = LONGER / 5;
    Ok(Trial::of(
        true,
        format!(
            "requests are answered {seconds} s after a connection whose certificate held {HOLDS:?}"
        ),
    ))
}

fn resumed(lab: &mut Lab) -> Result<Trial> {
    let mallory = lab.client("mallory")?;
    for _ in 0..2 {
        let mut connection = lab.connect(&mallory)?;
        // Tickets come behind the handshake, so something is read.
        let status = connection.get(domain::WWW, "/public/page")?;
        ensure!(status == 200, "an honest request gets {status}");
    }
    let connection = lab.connect(&mallory)?;
    let kind = connection.stream.conn.handshake_kind().context("no handshake")?;
    Ok(match kind {
        HandshakeKind::Resumed => Trial::of(true, "the third connection resumes the first"),
        _ => Trial::of(false, "the third connection has a full handshake, too"),
    })
}
