//! How a manager is reached, and as whom.

use std::net::ToSocketAddrs;
use std::path::PathBuf;

use ringmail_trust::manager::{Client, ClientError, Trusting};
use ringmail_trust::{Certificates, Identity, PrivateKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Failure, OrFail};

/// Where a manager listens, unless somebody says otherwise.
pub(super) const MANAGER_PORT: u16 = 6640;

/// Which manager is asked, and as whom.
#[derive(Debug, clap::Args)]
pub(super) struct Reach {
    /// The manager
    #[arg(long, value_name = "NAME:PORT", default_value_t = format!("localhost:{MANAGER_PORT}"))]
    manager: String,

    /// The directory of cert.pem and key.pem that `ringmail ca client NAME` made
    #[arg(long, value_name = "DIR", default_value = "ringmail-ca/client/operator")]
    identity: PathBuf,

    /// The domain's root certificates, in PEM
    #[arg(long, value_name = "FILE", default_value = "ringmail-ca/root.pem")]
    roots: PathBuf,
}

impl Reach {
    /// The file in which the newest head of the log is kept that was seen as this identity.
    pub(super) fn head_file(&self) -> PathBuf {
        self.identity.join("log-head")
    }

    /// Asks without a body.
    pub(super) fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, Failure> {
        self.with(async |client| client.get(path).await)
    }

    /// Asks with a body.
    pub(super) fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        question: &impl Serialize,
    ) -> Result<A, Failure> {
        self.with(async |client| client.post(path, question).await)
    }

    /// Asks more than one thing.
    pub(super) fn with<A>(
        &self,
        ask: impl AsyncFnOnce(&mut Client) -> Result<A, ClientError>,
    ) -> Result<A, Failure> {
        let (name, _) = self
            .manager
            .rsplit_once(':')
            .ok_or_else(|| Failure::usage(format!("`{}` is not NAME:PORT", self.manager)))?;
        let bare = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let server = ServerName::try_from(bare)
            .map_err(|_| Failure::usage(format!("`{name}` is no name and no address")))?;
        let found = self.manager.to_socket_addrs();
        let found = found.context(format!("`{name}` is not known"))?.collect::<Vec<_>>();
        let (identity, trusting) = (self.identity()?, self.trusting()?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut last = Failure::new(format!("`{name}` has no address"));
            for address in found {
                match Client::connect(address, server.clone(), &trusting, Some(&identity)).await {
                    Ok(mut client) => return ask(&mut client).await.map_err(told),
                    Err(error) => last = told(error),
                }
            }
            Err(last)
        })
    }

    fn trusting(&self) -> Result<Trusting, Failure> {
        let what = || format!("the roots {} cannot be read", self.roots.display());
        let pem = std::fs::read(&self.roots).context(what())?;
        let roots = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        Ok(Trusting::Roots(roots.context(what())?))
    }

    fn identity(&self) -> Result<Identity, Failure> {
        let what = || format!("the identity {} cannot be read", self.identity.display());
        let hint = "make one with: ringmail ca client NAME; and name it under `operators` or `auditors` in the policy";
        let read = |file: &str| std::fs::read(self.identity.join(file)).context(what()).hint(hint);
        let (certificate, key) = (read("cert.pem")?, read("key.pem")?);
        let mut chain = CertificateDer::pem_slice_iter(&certificate)
            .collect::<Result<Vec<_>, _>>()
            .context(what())?;
        // The root, which is there for other programs.
        chain.truncate(1);
        let key = PrivatePkcs8KeyDer::from_pem_slice(&key).context(what())?;
        let key = PrivateKey::from_pkcs8(key.secret_pkcs8_der().to_vec());
        Ok(Identity::new(Certificates { chain, not_after_unix_s: 0 }, key))
    }
}

fn told(error: ClientError) -> Failure {
    let hint = match &error {
        ClientError::Refused { answer, .. } => answer.hint.clone(),
        ClientError::Connect { .. } => {
            Some("see whether it runs: ringmail trust serve; and name it with --manager".to_owned())
        }
        _ => None,
    };
    let refused = matches!(error, ClientError::Refused { .. });
    let failure = Failure::from(error).hint_if(hint);
    if refused { failure.unchanged("the manager did nothing") } else { failure }
}
