//! Defences that the adversarial suite (`cargo xtask attack`) switches off one at a time, to see that its attacks bite.
//!
//! The place where a defence acts asks [`off`]. Without the feature `weaken` that is the constant `false` and nothing can
//! change it; with the feature, which no release builds, the program under attack is told what is off.

macro_rules! defences {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// One defence.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Defence { $($(#[doc = $doc])+ $variant,)+ }

        impl Defence {
            /// Every defence.
            pub const ALL: &'static [Defence] = &[$(Defence::$variant,)+];

            /// The name in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Defence::$variant => $name,)+ }
            }
        }
    };
}

defences! {
    /// The ICV of ESP is checked.
    EspIcv = "esp_icv",
    /// ESP encrypts.
    EspEncryption = "esp_encryption",
    /// A sequence number of ESP is accepted once.
    ReplayWindow = "replay_window",
    /// A frame comes by the interface of the link.
    LinkInterface = "link_interface",
    /// What ICMP says of the MTU between elements is not believed.
    LinkMtu = "link_mtu",
    /// What enters a chain at the egress has the address of the service that it comes from.
    ServiceAddress = "service_address",
    /// A frame comes from the neighbour that its path names.
    PreviousElement = "previous_element",
    /// The labels of a frame are those of its association's path.
    PathLabels = "path_labels",
    /// A frame has the form of the domain's profile.
    ProfileAlone = "profile_alone",
    /// A Network Service Header says where on its path a packet is, and that is here.
    NshPlace = "nsh_place",
    /// Every link's code over what steers a packet is checked.
    LinkCode = "link_code",
    /// The end of a path drops what is not proved to have come the whole way.
    TransitProof = "transit_proof",
    /// What is not proved is counted and noted.
    ProofRecord = "proof_record",
    /// What the end of a path says was proved is compared with what the other elements sign.
    SummaryRoots = "summary_roots",
    /// Metadata is sealed for its reader.
    MetadataSecrecy = "metadata_secrecy",
    /// Every segment, session and life has traffic keys and SPIs of its own.
    OwnKeys = "own_keys",
    /// A neighbour has a certificate of the domain's authority.
    ElementIssuer = "element_issuer",
    /// A neighbour is the element that the path names.
    NeighbourName = "neighbour_name",
    /// Agreement takes the post-quantum group only, TLS 1.3 only, and no resumption.
    AgreementFull = "agreement_full",
    /// A path set is signed by the domain.
    PathSetSignature = "path_set_signature",
    /// No path set comes again that is older than one seen.
    PathSetVersion = "path_set_version",
    /// A packet without a rule has no path.
    NoRuleNoPath = "no_rule_no_path",
    /// What comes back belongs to a flow that the gateway began.
    ReturnFlow = "return_flow",
    /// What leaves a chain is for the path's service.
    PathService = "path_service",
    /// The protocol is part of a flow.
    FlowProtocol = "flow_protocol",
    /// Fragments are not classified.
    Fragments = "fragments",
    /// The headers of IPv6 are followed to the transport header.
    ExtensionHeaders = "extension_headers",
    /// A client has a certificate of an authority that the listener names.
    ClientIssuer = "client_issuer",
    /// A client shows a certificate.
    ClientCertificate = "client_certificate",
    /// Open connections end when their certificate is revoked.
    ClientRevocation = "client_revocation",
    /// Open connections end with their certificate.
    ClientExpiry = "client_expiry",
    /// No TLS session of a client is resumed.
    ClientResumption = "client_resumption",
    /// Rules and services see one form of a path.
    UrlForm = "url_form",
    /// A request is for a name of the connection's certificate.
    RequestAuthority = "request_authority",
    /// What clients claim about themselves is taken out.
    ClaimedFields = "claimed_fields",
    /// What holds for one hop of HTTP only goes no further.
    HopByHopFields = "hop_by_hop_fields",
    /// Rules decide which requests go on.
    RequestRules = "request_rules",
    /// A request's header section has its time.
    HeaderTime = "header_time",
    /// A handshake has its time.
    HandshakeTime = "handshake_time",
    /// An address has so many handshakes under way and no more.
    AddressHandshakes = "address_handshakes",
    /// A client holds so many connections and no more.
    ClientConnections = "client_connections",
    /// Only who runs the domain may ask it.
    AdminUser = "admin_user",
    /// The inspection searches connections, not packets.
    StreamSearch = "stream_search",
    /// An attached function sends packets of flows that it was given.
    AttachedFlows = "attached_flows",
    /// Every request leaves a line in the access log, a refused one, too.
    AccessRecord = "access_record",
    /// The firewall drops what none of its rules allows.
    FirewallDefault = "firewall_default",
    /// A gateway that is of no use is told from one that is.
    GatewayHealth = "gateway_health",
    /// The gateway leaves replicas that do not answer.
    ReplicaLiveness = "replica_liveness",
    /// Associations end with their leases.
    LeaseEnd = "lease_end",
    /// A client cancels so many requests and no more.
    CancelledRequests = "cancelled_requests",
}

#[cfg(not(feature = "weaken"))]
mod switch {
    use super::Defence;

    /// Whether a defence is switched off: never.
    #[inline(always)]
    pub const fn off(_: Defence) -> bool {
        false
    }
}

#[cfg(feature = "weaken")]
mod switch {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::Defence;

    #[cfg(not(debug_assertions))]
    compile_error!(
        "feature `weaken` takes defences away: it is for `cargo xtask attack` and no release build"
    );

    const _: () = assert!(Defence::ALL.len() <= 64);

    static OFF: AtomicU64 = AtomicU64::new(0);

    /// In every program that has the feature, so that one can be told from others by its bytes.
    pub static MARK: &str = "ringmail, weakened for `cargo xtask attack`";

    /// Whether a defence is switched off.
    pub fn off(defence: Defence) -> bool {
        OFF.load(Relaxed) & mask(&[defence]) != 0
    }

    /// Switches off these, in bits as [`mask`] makes them, and no others.
    pub fn set(bits: u64) {
        OFF.store(bits, Relaxed);
    }

    /// The bits of some defences.
    pub fn mask(defences: &[Defence]) -> u64 {
        defences.iter().fold(0, |bits, defence| bits | 1 << (*defence as u8))
    }
}

#[cfg(not(feature = "weaken"))]
pub use switch::off;
#[cfg(feature = "weaken")]
pub use switch::{MARK, mask, off, set};

/// Whether this build has the switches.
pub const CAN_BE_WEAKENED: bool = cfg!(feature = "weaken");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_defence_stands_unless_it_was_switched_off() {
        assert!(Defence::ALL.iter().all(|defence| !off(*defence)));
        let mut names: Vec<_> = Defence::ALL.iter().map(|defence| defence.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Defence::ALL.len());
    }
}
