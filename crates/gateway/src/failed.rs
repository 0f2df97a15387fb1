//! What is known of a client that did not get as far as its first request, for the access log: why, and whose certificate
//! it showed.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::access::{AccessSink, Entry};
use crate::connection::ManyFromThere;
use crate::counters::{Counter, Counters};
use crate::identity::{self, Client, Fingerprint};

tokio::task_local! {
    /// The certificate that the client of the handshake under way showed, if it was refused: rustls keeps none of those.
    static SHOWN: RefCell<Option<CertificateDer<'static>>>;
}

/// Notes the certificate that is being refused; called from inside of a handshake.
pub(crate) fn refused(certificate: &CertificateDer<'_>) {
    let note = |shown: &RefCell<_>| *shown.borrow_mut() = Some(certificate.clone().into_owned());
    // Certificates are looked at outside of handshakes as well.
    let _elsewhere = SHOWN.try_with(note);
}

/// The handshake's outcome, and the certificate that was refused in it.
pub(crate) async fn watch<T>(
    handshake: impl Future<Output = T>,
) -> (T, Option<CertificateDer<'static>>) {
    let watched = async {
        let outcome = handshake.await;
        (outcome, SHOWN.with(RefCell::take))
    };
    SHOWN.scope(RefCell::default(), watched).await
}

/// Why a client did not get any further.
#[derive(Debug)]
pub(crate) struct Failed<'a> {
    pub(crate) counter: &'a Counter,
    pub(crate) reason: &'static str,
    pub(crate) detail: Option<String>,
}

impl<'a> Failed<'a> {
    pub(crate) fn new(counter: &'a Counter, reason: &'static str) -> Failed<'a> {
        Failed { counter, reason, detail: None }
    }

    /// Of an error before or in the handshake.
    pub(crate) fn of(error: &io::Error, counters: &'a Counters) -> Failed<'a> {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if error.get_ref().is_some_and(|inner| inner.is::<ManyFromThere>()) {
            let reason = "as many handshakes as allowed are under way from this address";
            return Failed::new(&counters.refused_handshakes_address, reason);
        }
        let (counter, reason) = match tls {
            Some(rustls::Error::NoCertificatesPresented) => {
                (&counters.handshake_no_certificate, "the client showed no certificate")
            }
            Some(rustls::Error::InvalidCertificate(CertificateError::Revoked)) => {
                (&counters.handshake_revoked, "the client's certificate is revoked")
            }
            Some(rustls::Error::InvalidCertificate(_)) => {
                (&counters.handshake_untrusted, "the client's certificate is not acceptable")
            }
            Some(rustls::Error::AlertReceived(_)) => {
                (&counters.handshake_failed, "the client refused the handshake")
            }
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                (&counters.handshake_failed, "the client left before the handshake was over")
            }
            _ => (&counters.handshake_failed, "the handshake failed"),
        };
        Failed { counter, reason, detail: Some(error.to_string()) }
    }

    /// The line for a client that showed this certificate, or none.
    pub(crate) fn log(
        self,
        sink: Option<&AccessSink>,
        begun: Instant,
        source: SocketAddr,
        shown: Option<&CertificateDer<'_>>,
    ) {
        self.counter.one();
        let Some(sink) = sink else { return };
        let mut entry = Entry::failed(source, begun);
        if let Some(shown) = shown {
            // What cannot be read names nobody.
            if let Some(name) =
                identity::names(shown).ok().and_then(|names| names.into_iter().next())
            {
                entry.client = name.into();
            }
            entry.certificate = format!("{:?}", Fingerprint::of(shown)).into();
            let parsed = X509Certificate::from_der(shown);
            entry.subject = parsed.ok().map(|(_, parsed)| parsed.subject().to_string());
        }
        (entry.reason, entry.detail) = (Some(self.reason), self.detail);
        sink.line(entry);
    }

    /// The line for a client that is known.
    pub(crate) fn log_of(
        self,
        sink: Option<&AccessSink>,
        begun: Instant,
        source: SocketAddr,
        client: &Client,
    ) {
        self.counter.one();
        let Some(sink) = sink else { return };
        let mut entry = Entry::failed(source, begun);
        entry.client = Arc::clone(&client.identity);
        entry.certificate = format!("{:?}", client.fingerprint).into();
        entry.subject = Some(client.subject.to_string());
        entry.reason = Some(self.reason);
        sink.line(entry);
    }
}
