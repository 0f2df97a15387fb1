//! What can go wrong with a network: a plan that cannot work is its author's fault, the rest the machine's.

use std::io;

use super::plan::Cidr;

/// The description of a network cannot work. Nothing was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It becomes a part of file names.
    #[error(
        "{name:?} is no {what} name: letters, digits, '.', '_' and '-', at most 63, none but letters, digits and '_' in front"
    )]
    Name {
        /// `domain` or `namespace`.
        what: &'static str,
        /// As it was given.
        name: String,
    },
    /// The kernel would refuse it.
    #[error(
        "{name:?} is no interface name: 1 to 15 visible ASCII characters, no '/', ':' or '%', and not 'lo'"
    )]
    InterfaceName {
        /// As it was given.
        name: String,
    },
    /// Names are unique.
    #[error("two namespaces are called {name}")]
    TwoNamespaces {
        /// The name of both.
        name: String,
    },
    /// Names are unique within a namespace.
    #[error("two interfaces of {namespace} are called {interface}")]
    TwoInterfaces {
        /// Where.
        namespace: String,
        /// The name of both.
        interface: String,
    },
    /// A cable ends nowhere.
    #[error("interface {interface} lies in {namespace}, which is not described")]
    NoNamespace {
        /// The cable's end.
        interface: String,
        /// What is missing.
        namespace: String,
    },
    /// A cable is plugged into nothing.
    #[error("{namespace} has no bridge {bridge}")]
    NoBridge {
        /// Where.
        namespace: String,
        /// What is missing.
        bridge: String,
    },
    /// The next hop has another family, or there is neither next hop nor interface.
    #[error("the route to {to} in {namespace} needs a next hop of its family or an interface")]
    Route {
        /// Where.
        namespace: String,
        /// Where to.
        to: Cidr,
    },
    /// Not of the form ADDRESS/BITS.
    #[error("{text:?} is no address with a prefix length, such as 10.0.0.1/24 or fd00::1/64")]
    Address {
        /// As it was given.
        text: String,
    },
    /// More than one machine should hold.
    #[error("{count} namespaces are more than the limit of {}", crate::limits::NAMESPACES)]
    TooManyNamespaces {
        /// How many were asked for.
        count: usize,
    },
}

/// A network cannot become another one while it stands. Nothing was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrowthError {
    /// Its addresses, its MTU or where it leads would change.
    #[error("interface {interface} of {namespace} would have to change")]
    Cable {
        /// Where.
        namespace: String,
        /// Which.
        interface: String,
    },
    /// Its bridges or settings would change.
    #[error("the settings of namespace {namespace} would have to change")]
    Namespace {
        /// Which.
        namespace: String,
    },
    /// An address would be reached by another way, or what had it before is still there.
    #[error("{to} is still reached by another way in {namespace}")]
    Route {
        /// Where.
        namespace: String,
        /// Where to.
        to: Cidr,
    },
}

/// A network could not be made. What was made of it is gone again when the error is seen.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// The description's fault.
    #[error("the network as described cannot work")]
    Plan(#[from] PlanError),
    /// The kernel, or a missing right.
    #[error("namespace {namespace}: {step}")]
    Namespace {
        /// Which.
        namespace: String,
        /// What was being done, e.g. `it cannot be made`.
        step: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// The kernel, or a missing module.
    #[error("namespace {namespace}: interface {interface}: {step}")]
    Interface {
        /// Where.
        namespace: String,
        /// Which.
        interface: String,
        /// What was being done.
        step: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// A sysctl that is needed does not exist or cannot be written.
    #[error("namespace {namespace}: sysctl {key} cannot be set to {value:?}")]
    Sysctl {
        /// Where.
        namespace: String,
        /// E.g. `net.ipv4.ip_forward`.
        key: String,
        /// What was written.
        value: String,
        /// The kernel's word.
        source: io::Error,
    },
    /// The kernel.
    #[error("namespace {namespace}: the route to {to} cannot be added")]
    Route {
        /// Where.
        namespace: String,
        /// Where to.
        to: Cidr,
        /// The kernel's word.
        source: io::Error,
    },
    /// An interface is up and carries nothing.
    #[error("namespace {namespace}: interface {interface} does not come up")]
    NotUp {
        /// Where.
        namespace: String,
        /// Which.
        interface: String,
    },
    /// What was made cannot be written down.
    #[error("the domain's record cannot be kept")]
    Record(#[from] crate::runtime::RuntimeError),
}

impl TopologyError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        let source = match self {
            TopologyError::Namespace { source, .. } | TopologyError::Interface { source, .. } => {
                source
            }
            TopologyError::Sysctl { .. } => {
                return Some(
                    "in a container, /proc/sys may be read-only: mount it writable, or run outside",
                );
            }
            _ => return None,
        };
        match source.kind() {
            io::ErrorKind::PermissionDenied => {
                Some("run as root, or allow user namespaces (sysctl user.max_user_namespaces)")
            }
            io::ErrorKind::Unsupported => Some(
                "the kernel needs network namespaces, veth and bridge (modules veth and bridge)",
            ),
            _ => None,
        }
    }
}
