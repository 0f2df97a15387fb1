//! Clients, honest and hostile: TLS by hand, and over it whatever bytes a case wants to send.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ringmail_node::topology::Netns;
use ringmail_trust::{Authority, EmbeddedCa, Kind, Request};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::domain;
use crate::lab::{Lab, PATIENCE};

/// A connection of a client to the gateway.
pub(crate) struct Connection {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
}

/// What a client shows and where it stands.
#[derive(Clone)]
pub(crate) struct Client {
    /// The namespace that it is in.
    pub(crate) at: String,
    pub(crate) tls: Arc<ClientConfig>,
    /// The server name that it asks for.
    pub(crate) sni: String,
}

/// A certificate chain and the key to the first of it.
pub(crate) type Papers = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Lab {
    /// A client of the domain, with a new certificate.
    pub(crate) fn client(&self, name: &str) -> Result<Client> {
        self.client_for(name, Duration::from_secs(86_400))
    }

    /// The same, whose certificate holds for so long.
    pub(crate) fn client_for(&self, name: &str, lasts: Duration) -> Result<Client> {
        let papers = papers(self.authority(), name, lasts)?;
        self.client_with(name, Some(papers))
    }

    /// Whoever stands where that client is, with this certificate and key or none.
    pub(crate) fn client_with(&self, at: &str, identity: Option<Papers>) -> Result<Client> {
        Client::of(self.authority(), at, domain::WWW, identity)
    }

    /// A plain TCP connection from a client's place to the listener.
    pub(crate) fn knock(&self, at: &str) -> Result<TcpStream> {
        knock(&*self.netns(at)?, PATIENCE)
    }

    /// Connects and agrees on TLS.
    pub(crate) fn connect(&self, client: &Client) -> Result<Connection> {
        Connection::open(&*self.netns(&client.at)?, client, PATIENCE)
    }

    /// The status of a GET, over a connection of its own.
    pub(crate) fn get(&self, client: &Client, path: &str) -> Result<u16> {
        self.connect(client)?.get(&client.sni, path)
    }

    /// The positive control of a case about requests: this client gets this path.
    pub(crate) fn control(&self, client: &Client, path: &str) -> Result<()> {
        match self.get(client, path)? {
            200 => Ok(()),
            other => bail!("an honest request of {} gets {other}", client.at),
        }
    }
}

impl Client {
    /// A client of a domain with this authority, which asks for this server name.
    pub(crate) fn of(
        authority: &EmbeddedCa,
        at: &str,
        sni: &str,
        identity: Option<Papers>,
    ) -> Result<Client> {
        let mut roots = RootCertStore::empty();
        for root in authority.trust_bundle()?.roots {
            roots.add(root)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut tls = match identity {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Client { at: at.to_owned(), tls: Arc::new(tls), sni: sni.to_owned() })
    }
}

/// A new certificate of a client of the domain, and its key.
pub(crate) fn papers(authority: &EmbeddedCa, name: &str, lasts: Duration) -> Result<Papers> {
    let names = Vec::new();
    let request = Request { kind: Kind::Client, name: name.parse()?, names, lasts, replace: true };
    Ok(authority.issue(&request)?.identity.for_tls())
}

/// A plain TCP connection from this place to the listener, on which nothing takes longer than this.
fn knock(netns: &Netns, patience: Duration) -> Result<TcpStream> {
    let to: SocketAddr = domain::LISTENER.parse()?;
    let stream = netns.run(|| TcpStream::connect_timeout(&to, patience))??;
    stream.set_read_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Connection {
    /// Connects from this place and agrees on TLS; nothing takes longer than this.
    pub(crate) fn open(netns: &Netns, client: &Client, patience: Duration) -> Result<Connection> {
        let mut tcp = knock(netns, patience)?;
        let name = ServerName::try_from(client.sni.clone())?;
        let mut tls = ClientConnection::new(Arc::clone(&client.tls), name)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).context("the handshake fails")?;
        }
        Ok(Connection { stream: StreamOwned::new(tls, tcp) })
    }

    /// The status of a GET.
    pub(crate) fn get(&mut self, host: &str, path: &str) -> Result<u16> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"))
    }

    /// Sends this, and returns the status of the next answer.
    pub(crate) fn ask(&mut self, request: &str) -> Result<u16> {
        self.send(request)?;
        let answer = self.answer()?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.with_context(|| format!("no status: {answer}"))
    }

    pub(crate) fn send(&mut self, bytes: &str) -> Result<()> {
        self.stream.write_all(bytes.as_bytes()).context("the request is not taken")?;
        self.stream.flush().context("the request is not taken")
    }

    /// The head of the next answer, its body read and left out.
    pub(crate) fn answer(&mut self) -> Result<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if self.stream.read(&mut byte).context("no answer")? == 0 {
                bail!("the connection is closed without an answer");
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let lower = head.to_lowercase();
        let len = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
        let len: usize = len.and_then(|len| len.trim().parse().ok()).unwrap_or(0);
        self.stream.read_exact(&mut vec![0; len]).context("the answer breaks off")?;
        Ok(head)
    }

    /// Whether the gateway closes the connection within this time; nothing may be under way.
    pub(crate) fn closes(&mut self, within: Duration) -> Result<bool> {
        self.stream.sock.set_read_timeout(Some(within))?;
        let mut byte = [0];
        let closed = match self.stream.read(&mut byte) {
            Ok(len) => len == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        };
        self.stream.sock.set_read_timeout(Some(PATIENCE))?;
        Ok(closed)
    }
}
