//! Services: what the domain protects.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CertificateFiles;
use crate::names::{HostName, HostPattern, Name};
use crate::net::Cidr;

/// Something that can be reached through a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The name that paths use.
    pub name: Name,
    /// Where it listens, such as 10.79.0.10:80; several are tried in order.
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<SocketAddr>,
    /// Networks that packets of WireGuard clients reach besides, by any protocol and port that rules allow, such as
    /// 10.79.0.10/32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Cidr>,
    /// The authorities (Host, :authority) that it answers to. A rule that leads here matches no other host. One that is
    /// reached by packets alone needs none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_names: Vec<HostPattern>,
    /// Serves the built-in demonstration site instead of a server of yours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    /// TLS from the gateway to the service, inside the chain. Functions on the way then see ciphertext.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServiceTls>,
    /// Every connection to the service begins with a header of the PROXY protocol that names the client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyVersion>,
    /// Requests carry `Forwarded` (RFC 7239) with the client's address. What the client sent under this name never passes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forwarded: bool,
    /// Requests carry `x-forwarded-client-cert` in Envoy's form, with the client's certificate. What the client sent under
    /// this name never passes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub x_forwarded_client_cert: bool,
}

/// How the gateway speaks TLS with a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceTls {
    /// PEM file of the trust anchors of the service's certificate, relative to the domain file.
    pub ca: PathBuf,
    /// The name that is asked for by SNI, and that the certificate must have.
    pub server_name: HostName,
    /// The certificate that the gateway shows, for services that ask for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateFiles>,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyVersion {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

/// The built-in demonstration site: one page of many files, and one large file at `/download`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Site {
    /// Files of the page.
    pub files: u16,
    /// Bytes of these files together.
    pub total_bytes: u32,
    /// Bytes of `/download`.
    pub download_bytes: u64,
}

/// The paper's site: 9 files, 1.2 MB (section VII.A).
impl Default for Site {
    fn default() -> Site {
        Site { files: 9, total_bytes: 1_200_000, download_bytes: 256 << 20 }
    }
}
