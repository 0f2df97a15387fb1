//! The messages of the control channel.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::blob::{Blob, Secret};
use super::nack::Nack;
use super::observe::{Observe, Observed};
use super::status::{ElementStatus, ListenerLists, Rekeyed};

/// From the parent to an element.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ToElement {
    /// Who the element is from now on: the certificate for its request, and whom it believes.
    Identity {
        /// X.509 in DER, the element's own first.
        certificate_chain: Vec<Blob>,
        /// X.509 in DER.
        trust_anchors: Vec<Blob>,
        /// Revocation lists (RFC 5280) of the trust anchors, in DER.
        crls: Vec<Blob>,
    },
    /// The same of an element whose key its state directory keeps: at the start in the place of
    /// [`ToElement::Identity`], and again whenever any of it is renewed.
    KeptIdentity {
        /// PKCS #8 in DER.
        key: Secret,
        /// X.509 in DER, the element's own first.
        certificate_chain: Vec<Blob>,
        /// X.509 in DER.
        trust_anchors: Vec<Blob>,
        /// Revocation lists (RFC 5280) of the trust anchors, in DER.
        crls: Vec<Blob>,
        /// The key that the signatures of later path sets are checked with.
        signing_key: Blob,
    },
    /// The same while an element runs whose key only itself has: another certificate over that key, and whom it believes.
    Renewed {
        /// X.509 in DER, the element's own first.
        certificate_chain: Vec<Blob>,
        /// X.509 in DER.
        trust_anchors: Vec<Blob>,
        /// Revocation lists (RFC 5280) of the trust anchors, in DER.
        crls: Vec<Blob>,
    },
    /// What one of the gateway's listeners shows, and whom it believes. While the gateway runs: other certificates, for
    /// connections that begin from now on.
    Listener(ListenerTls),
    /// How the gateway speaks TLS with a service, or with a decision point.
    ServiceTls(ServiceTls),
    /// The domain file, as it was read. Not signed: it holds what concerns the machine, not the paths.
    Domain {
        /// YAML.
        text: String,
    },
    /// The paths, signed by the path-signing key.
    PathSet {
        /// The canonical bytes.
        document: Blob,
        /// Ed25519 over them.
        signature: Blob,
        /// The key that the signature is checked with, as the parent holds it.
        signing_key: Blob,
    },
    /// Keying `psk`: the secret that all traffic keys of the domain are derived from.
    Psk {
        /// At least 32 bytes.
        secret: Secret,
        /// As in [`ToElement::Lives`].
        lives: BTreeMap<u16, u32>,
    },
    /// Keying `psk`: how often elements began anew in this run, by their numbers; those that are not named did not. Their
    /// keys are others in each life.
    Lives {
        /// Of all elements that ever did.
        lives: BTreeMap<u16, u32>,
    },
    /// Leave to go on in a path, signed, for a time that it names.
    Lease {
        /// The signed lease.
        signed: Blob,
    },
    /// Answered with [`FromElement::Status`].
    Status {
        /// Comes back in the answer.
        request: u64,
    },
    /// Answered with [`FromElement::Keys`].
    ExportKeys {
        /// Comes back in the answer.
        request: u64,
    },
    /// Agree on new keys with all neighbours. Answered with [`FromElement::Rekeyed`] once they are in use, or it is clear
    /// with whom they are not.
    Rekey {
        /// Comes back in the answer.
        request: u64,
    },
    /// For the gateway: read the revocation lists of its listeners now. Answered with [`FromElement::Lists`].
    ReadLists {
        /// Comes back in the answer.
        request: u64,
    },
    /// For the gateway: packets of this flow take this path from now on. Answered with [`FromElement::Pinned`].
    Pin {
        /// Comes back in the answer.
        request: u64,
        /// Which flow, and its path.
        flow: PinnedFlow,
    },
    /// Answered with [`FromElement::Observed`].
    Observe {
        /// Comes back in the answer.
        request: u64,
        /// What to look at.
        question: Observe,
    },
    /// Build another version of the domain beside the one that is active, without touching traffic. Answered with
    /// [`FromElement::Staged`] once its paths have keys.
    Stage {
        /// Comes back in the answer.
        request: u64,
        /// The domain file. Not signed, as in [`ToElement::Domain`].
        text: String,
        /// The canonical bytes of the path set.
        document: Blob,
        /// Ed25519 over them, by the key that the element was told at its start.
        signature: Blob,
        /// What the listeners show, as in [`ToElement::Listener`]; for the gateway.
        listeners: Vec<ListenerTls>,
        /// How it speaks TLS with services, as in [`ToElement::ServiceTls`]; for the gateway.
        services: Vec<ServiceTls>,
        /// It counts already for everybody else: staged without the keys of neighbours that do not agree in time.
        counts: bool,
    },
    /// Of the version that is being staged, these elements are away: it does not wait for keys with them.
    Absent {
        /// Which version.
        version: u64,
        /// Names of elements.
        elements: Vec<String>,
    },
    /// What begins from now on takes the staged version. Answered with [`FromElement::Activated`].
    Activate {
        /// Comes back in the answer.
        request: u64,
        /// Which one.
        version: u64,
    },
    /// Forget what is staged, if it is this version. Answered with [`FromElement::Abandoned`].
    Abandon {
        /// Comes back in the answer.
        request: u64,
        /// Which one.
        version: u64,
    },
    /// Go on until nobody needs the element any more, for `limits.drain_ms` at most, and end: the gateway takes no more
    /// connections, others wait until nothing comes. What SIGTERM says to an element with a process of its own.
    Drain,
    /// Finish what is under way, and end.
    Shutdown {
        /// After this time the parent sends SIGTERM.
        grace_ms: u64,
    },
}

/// With whom the gateway speaks TLS, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsPeer {
    /// A service.
    Service(String),
    /// A decision point.
    DecisionPoint(String),
}

/// How the gateway speaks TLS with a service, or with a decision point.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceTls {
    /// With whom.
    pub peer: TlsPeer,
    /// X.509 in DER.
    pub trust_anchors: Vec<Blob>,
    /// What the gateway shows, if it shows one.
    pub certificate: Option<ServerCertificate>,
}

/// From an element to its parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FromElement {
    /// The first message: the element's new key, in a certificate request.
    Hello {
        /// PKCS #10 in DER.
        csr: Blob,
    },
    /// The element serves: its links are open and it can agree on keys.
    Ready,
    /// The lease for a path ends soon, or there is none yet.
    LeaseRequest {
        /// The path's digest.
        digest: Blob,
    },
    /// The answer to [`ToElement::Status`].
    Status {
        /// That of the question.
        request: u64,
        /// As of now.
        status: ElementStatus,
    },
    /// The answer to [`ToElement::ExportKeys`].
    Keys {
        /// That of the question.
        request: u64,
        /// Of every security association by which this element receives.
        keys: Vec<KeyExport>,
    },
    /// The answer to [`ToElement::Rekey`].
    Rekeyed {
        /// That of the question.
        request: u64,
        /// By their numbers.
        neighbours: Vec<Rekeyed>,
    },
    /// The answer to [`ToElement::ReadLists`].
    Lists {
        /// That of the question.
        request: u64,
        /// By their names.
        listeners: Vec<ListenerLists>,
    },
    /// The answer to [`ToElement::Pin`].
    Pinned {
        /// That of the question.
        request: u64,
    },
    /// The answer to [`ToElement::Observe`].
    Observed {
        /// That of the question.
        request: u64,
        /// What was seen.
        answer: Observed,
    },
    /// The answer to [`ToElement::Stage`].
    Staged {
        /// That of the question.
        request: u64,
        /// Why the version was not staged; then it is forgotten. `None`: it waits to be activated.
        nack: Option<Nack>,
    },
    /// The answer to [`ToElement::Activate`].
    Activated {
        /// That of the question.
        request: u64,
        /// Why nothing was activated.
        nack: Option<Nack>,
    },
    /// The answer to [`ToElement::Abandon`].
    Abandoned {
        /// That of the question.
        request: u64,
    },
    /// A question cannot be answered.
    Refused {
        /// That of the question.
        request: u64,
        /// Why.
        reason: String,
    },
    /// The element ends because of an error.
    Failed {
        /// The error and what caused it, outermost first.
        causes: Vec<String>,
    },
}

/// What one of the gateway's listeners shows, and whom it believes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTls {
    /// Its name in the domain file.
    pub name: String,
    /// In the file's order.
    pub certificates: Vec<ServerCertificate>,
    /// Of clients; X.509 in DER.
    pub trust_anchors: Vec<Blob>,
    /// Of clients; in DER.
    pub crls: Vec<Blob>,
    /// Where these lists came from, in PEM: looked at again while the gateway runs. All of them, or none.
    #[serde(default)]
    pub crl_files: Vec<PathBuf>,
    /// Where the anchors came from, in PEM, if they are looked at again while the gateway runs.
    #[serde(default)]
    pub anchors_file: Option<PathBuf>,
    /// Where its access log goes, if there is one.
    #[serde(default)]
    pub access_log: Option<PathBuf>,
    /// The keys of one of kind `wireguard`.
    #[serde(default)]
    pub wireguard: Option<WireguardKeys>,
}

/// Keys of WireGuard that only the gateway has.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireguardKeys {
    /// Its private key.
    pub key: Secret,
    /// What it shares with clients besides, by their names.
    pub preshared: BTreeMap<String, Secret>,
}

/// A certificate with its key, for a listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerCertificate {
    /// The names that it is shown for.
    pub server_names: Vec<String>,
    /// X.509 in DER, the server's own first.
    pub chain: Vec<Blob>,
    /// PKCS #8 in DER.
    pub key: Secret,
}

/// A flow and the path that it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedFlow {
    /// The forward path's name.
    pub path: String,
    /// Where the flow comes from, on the gateway's inner side.
    pub source: SocketAddr,
    /// An address and port of the path's service.
    pub destination: SocketAddr,
    /// The IP protocol's number.
    pub protocol: u8,
}

/// The key of one security association, for a program that decrypts captures.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyExport {
    /// The path's name.
    pub path: String,
    /// Outer source address.
    pub source: IpAddr,
    /// Outer destination address.
    pub destination: IpAddr,
    /// The receiver's index.
    pub sa_spi: u32,
    /// E.g. `aes-128-gcm`; `hmac-sha-256-128` for codes of RFC 9145 on the link between two elements.
    pub suite: String,
    /// The key, and behind it the salt of 4 bytes (RFC 4106 section 8.1), where it has one.
    pub key_and_salt: Secret,
}

impl FromElement {
    /// The question that this answers.
    pub(crate) fn request(&self) -> Option<u64> {
        match self {
            FromElement::Status { request, .. }
            | FromElement::Keys { request, .. }
            | FromElement::Rekeyed { request, .. }
            | FromElement::Lists { request, .. }
            | FromElement::Pinned { request }
            | FromElement::Observed { request, .. }
            | FromElement::Staged { request, .. }
            | FromElement::Activated { request, .. }
            | FromElement::Abandoned { request }
            | FromElement::Refused { request, .. } => Some(*request),
            _ => None,
        }
    }

    /// The message that tells of an error and its causes.
    pub fn failed(error: &(dyn std::error::Error + 'static)) -> FromElement {
        let causes = std::iter::successors(Some(error), |error| error.source());
        FromElement::Failed { causes: causes.map(ToString::to_string).collect() }
    }
}
