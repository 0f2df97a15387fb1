//! What stands between a connection that a chain opened and the service's own protocol: a PROXY header, TLS.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ringmail_model::domain::ProxyVersion;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::proxy_protocol;
use crate::service_io::Socket;

/// What is special about services, by name; one that is not here is spoken to plainly.
pub type Services = BTreeMap<String, ServiceOptions>;

/// How a service is spoken to.
#[derive(Clone, Debug, Default)]
pub struct ServiceOptions {
    /// TLS.
    pub tls: Option<ServiceTls>,
    /// A PROXY header at the beginning of each connection, before TLS.
    pub proxy_protocol: Option<ProxyVersion>,
    /// `Forwarded` in each request.
    pub forwarded: bool,
    /// `x-forwarded-client-cert` in each request.
    pub client_certificate: bool,
}

/// TLS towards a service.
#[derive(Clone, Debug)]
pub struct ServiceTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl ServiceTls {
    /// TLS 1.3 or 1.2 with a service whose certificate has `name` and leads to one of `anchors`. `own` is shown to a
    /// service that asks for a certificate.
    ///
    /// # Errors
    /// A name that is none, or a certificate that its key does not fit.
    pub fn new(
        anchors: RootCertStore,
        name: &str,
        own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<ServiceTls, rustls::Error> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| rustls::Error::General(format!("`{name}` is no server name")))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_root_certificates(anchors);
        let mut config = match own {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        };
        // Connections are pooled; a session that is resumed would not be checked again.
        config.resumption = Resumption::disabled();
        Ok(ServiceTls { config: Arc::new(config), name })
    }
}

/// A connection's way to its service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leg<'a> {
    pub(crate) options: Option<&'a ServiceOptions>,
    /// The client's address, and the one that it came to.
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

impl Leg<'_> {
    /// Says and agrees what the service wants before its own protocol.
    pub(crate) async fn prepare(&self, mut tcp: TcpStream) -> io::Result<Socket> {
        let Some(options) = self.options else { return Ok(Socket::Plain(tcp)) };
        if let Some(version) = options.proxy_protocol {
            let header = proxy_protocol::header(version, self.source, self.destination);
            tcp.write_all(&header).await?;
        }
        match &options.tls {
            None => Ok(Socket::Plain(tcp)),
            Some(tls) => {
                let connector = TlsConnector::from(Arc::clone(&tls.config));
                let stream = connector.connect(tls.name.clone(), tcp).await?;
                Ok(Socket::Tls(Box::new(stream)))
            }
        }
    }

    /// The client's address, where a connection must not be used for another's.
    pub(crate) fn pinned_source(&self) -> Option<SocketAddr> {
        self.options.and_then(|options| options.proxy_protocol).map(|_| self.source)
    }
}
