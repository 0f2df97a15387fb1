//! Enrolment: a token against the first certificate, on a connection of its own (`docs/pdp.md`, "Enrolment").

use anyhow::{Context, Result, bail};
use ringmail_model::Name;
use ringmail_model::limits::{PDP_MESSAGE_BYTES, PDP_REQUEST_BYTES};
use ringmail_model::pdp::{EnrolSecret, Message};
use ringmail_trust::{
    Authority, AuthorityError, Certificates, ElementKey, EmbeddedCa, Token, TrustBundle,
};
use rustls_pki_types::CertificateSigningRequestDer;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::limits::{DIAL_WITHIN, ENROL_RETRY, ENROL_WITHIN, HANDSHAKE_WITHIN};
use super::session::read_one;
use super::store::Enrolled;
use super::tls::{self, ENROL_ALPN};
use crate::sap::tls::{check_connection, nameless};

/// Enrols an element: makes its key here, shows the token to control, and takes certificate and roots from it. Waits for
/// control as long as it takes.
///
/// # Errors
/// Control does not answer, is not who the token names, or refuses.
pub(super) async fn enrol(control: &str, token: &Token) -> Result<Enrolled> {
    let key = ElementKey::generate()?;
    let request = key.signing_request(&token.trust_domain, &token.element)?;
    let stream = connected(control).await;
    let talk = async {
        let config = tls::enrolling(token)?;
        let handshake = TlsConnector::from(config).connect(nameless(), stream);
        let mut stream = handshake.await.context("control is not who the token names")?;
        check_connection(stream.get_ref().1, ENROL_ALPN)?;
        let message = Message::Enrol {
            element: token.element.to_string(),
            secret: EnrolSecret(*token.danger_secret()),
            request: request.to_vec(),
        };
        stream.write_all(&message.encode()).await?;
        stream.flush().await?;
        let certificate = Message::decode(&read_one(&mut stream, PDP_MESSAGE_BYTES).await?)?;
        let certificates = match certificate {
            Message::Certificate { chain, not_after_unix_s, .. } => Certificates {
                chain: chain.into_iter().map(Into::into).collect(),
                not_after_unix_s,
            },
            Message::Refused { detail, .. } => bail!("control refuses: {detail}"),
            _ => bail!("control answers what is no answer"),
        };
        match Message::decode(&read_one(&mut stream, PDP_MESSAGE_BYTES).await?)? {
            Message::Bundle { roots, crls, path_key } => Ok((certificates, roots, crls, path_key)),
            _ => bail!("control answers what is no answer"),
        }
    };
    let answered = timeout(DIAL_WITHIN + ENROL_WITHIN, talk).await;
    let (certificates, roots, crls, path_key) = answered
        .context("control does not answer")?
        .with_context(|| format!("no enrolment with control at {control}"))?;
    let bundle = TrustBundle {
        trust_domain: token.trust_domain.clone(),
        roots: roots.into_iter().map(Into::into).collect(),
        crls: crls.into_iter().map(Into::into).collect(),
        path_key,
    };
    // It proved by the token's root that it is control, and may name the root to come beside it.
    if !bundle.roots.iter().any(|root| token.names_root(root)) {
        bail!("control names other roots than the token");
    }
    Ok(Enrolled { element: token.element.clone(), key: key.private_key(), certificates, bundle })
}

async fn connected(control: &str) -> TcpStream {
    loop {
        match timeout(DIAL_WITHIN, TcpStream::connect(control)).await {
            Ok(Ok(stream)) => return stream,
            Ok(Err(error)) => tracing::warn!(control, %error, "control cannot be reached yet"),
            Err(_) => tracing::warn!(control, "control does not answer yet"),
        }
        sleep(ENROL_RETRY).await;
    }
}

/// Answers one element that enrols. `known` says whether the domain has an element of that name.
pub(super) async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    authority: &EmbeddedCa,
    known: impl Fn(&str) -> bool,
) -> Result<()> {
    let bytes = timeout(HANDSHAKE_WITHIN, read_one(&mut stream, PDP_REQUEST_BYTES)).await??;
    let Message::Enrol { element, secret, request } = Message::decode(&bytes)? else {
        bail!("the peer says what is no enrolment");
    };
    let sign = || -> Result<Certificates, AuthorityError> {
        let name = element.parse::<Name>().ok().filter(|name| known(name));
        // Who has no token does not learn which elements there are.
        let bad = || AuthorityError::BadToken { element: element.clone() };
        let request = CertificateSigningRequestDer::from(request.as_slice());
        authority.enrol(&name.ok_or_else(bad)?, &secret.0, &request)
    };
    // It reads and writes the authority's directory, and may wait for another process.
    let answers = tokio::task::block_in_place(|| match sign() {
        Ok(Certificates { chain, not_after_unix_s }) => {
            let TrustBundle { roots, crls, path_key, .. } = authority.trust_bundle()?;
            tracing::info!(element, "enrolled");
            let chain = chain.iter().map(|der| der.to_vec()).collect();
            let bundle = Message::Bundle {
                roots: roots.iter().map(|der| der.to_vec()).collect(),
                crls: crls.iter().map(|der| der.to_vec()).collect(),
                path_key,
            };
            Ok(vec![Message::Certificate { number: 0, not_after_unix_s, chain }, bundle])
        }
        Err(error) => {
            let theirs = matches!(
                error,
                AuthorityError::BadToken { .. } | AuthorityError::BadSigningRequest { .. }
            );
            let detail = if theirs { error.to_string() } else { "it cannot sign now".to_owned() };
            tracing::warn!(element, %error, "an enrolment is refused");
            Ok::<_, AuthorityError>(vec![Message::Refused { number: 0, detail }])
        }
    })?;
    for answer in answers {
        stream.write_all(&answer.encode()).await?;
    }
    stream.flush().await?;
    Ok(stream.shutdown().await?)
}
