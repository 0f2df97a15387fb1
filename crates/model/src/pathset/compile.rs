//! Domain → path set: numbers, labels and addresses given out in a fixed order.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::elements::{egress_name, elements};
use super::numbering::{Definition, Numbers};
use super::{Direction, Hop, LinkSet, Numbering, Path, PathSet, Role, Segment, grants};
use crate::domain::{Domain, Keying, LinkKind, STANDBY};
use crate::ids::{ElementId, Label, PathDigest, PathId, PathVersion};
use crate::integrity::Integrity;
use crate::limits;
use crate::metadata::Kinds;
use crate::names::Name;
use crate::nsh::TooLong;
use crate::overhead::{self, EspMode};

/// What the issuer adds to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Higher than every version before.
    pub version: PathVersion,
    /// Seconds since 1970.
    pub not_before_unix_s: u64,
    /// Seconds since 1970.
    pub not_after_unix_s: u64,
}

/// Why a domain has no path set. `check` says the same with line and column; nothing here happens after it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// A path names a function that the domain does not have.
    #[error("path `{path}` names the function `{function}`, which the domain does not have")]
    UnknownFunction {
        /// The path.
        path: String,
        /// The name.
        function: Name,
    },
    /// A path names a function twice.
    #[error("path `{path}` passes the function `{function}` twice")]
    FunctionTwice {
        /// The path.
        path: String,
        /// The name.
        function: Name,
    },
    /// A path names a service that the domain does not have.
    #[error("path `{path}` leads to the service `{service}`, which the domain does not have")]
    UnknownService {
        /// The path.
        path: String,
        /// The name.
        service: Name,
    },
    /// A path names a return path that the domain does not have.
    #[error("path `{path}` names the return path `{return_path}`, which the domain does not have")]
    UnknownReturnPath {
        /// The path.
        path: String,
        /// The name.
        return_path: Name,
    },
    /// Two things of one kind have one name.
    #[error("there are two {kind}s named `{name}`")]
    DuplicateName {
        /// The kind.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Forward paths to different egresses share a return path.
    #[error("return path `{return_path}` would begin at two egresses")]
    ReturnPathOfTwoEgresses {
        /// The return path.
        return_path: Name,
    },
    /// Too many elements, paths or hops.
    #[error("too many {what}: at most {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        most: usize,
    },
    /// The fabric's network has no address left, or is no IPv4 network.
    #[error("the fabric's network has no address for element `{0}`")]
    NoAddress(String),
    /// Two elements have one address.
    #[error("two elements have the address {0}")]
    DuplicateAddress(Ipv4Addr),
    /// Two elements have one label.
    #[error("two elements have the label {0}")]
    DuplicateLabel(Label),
    /// The path needs a longer Network Service Header than there is.
    #[error("path `{path}`: {why}")]
    NshTooLong {
        /// The path.
        path: String,
        /// What is too long.
        why: TooLong,
    },
    /// Nothing fits behind the path's headers.
    #[error("path `{path}` leaves {left_bytes} bytes for inner packets")]
    MtuTooSmall {
        /// The path.
        path: String,
        /// What is left.
        left_bytes: usize,
    },
}

impl PathSet {
    /// The path set of a domain. The same domain and issue always give the same.
    ///
    /// # Errors
    /// What `check` would have said of the domain, the first of it.
    pub fn compile(domain: &Domain, issue: Issue) -> Result<PathSet, CompileError> {
        PathSet::compile_after(domain, issue, &Numbering::default())
    }

    /// The path set of a domain that runs: elements and paths that stay keep their numbers, and so the paths their digests.
    ///
    /// # Errors
    /// As for [`PathSet::compile`].
    pub fn compile_after(
        domain: &Domain,
        issue: Issue,
        before: &Numbering,
    ) -> Result<PathSet, CompileError> {
        let esp_mode = match (domain.keying, &domain.psk) {
            (Keying::Psk, Some(psk)) => psk.mode,
            _ => EspMode::Tunnel,
        };
        let elements = elements(domain, before)?;
        let mut set = PathSet {
            domain: domain.domain.clone(),
            version: issue.version,
            not_before_unix_s: issue.not_before_unix_s,
            not_after_unix_s: issue.not_after_unix_s,
            profile: domain.profile,
            integrity: Integrity::new(domain.integrity, domain.rfc9145),
            suite: domain.suite,
            keying: domain.keying,
            esp_mode,
            link: match domain.links.kind {
                LinkKind::Udp => LinkSet::Udp,
                LinkKind::Ethernet => LinkSet::Ethernet { vlan: domain.links.vlan },
            },
            link_mtu: domain.links.mtu,
            elements,
            paths: Vec::new(),
        };
        let paths = Router { domain, set: &set }.paths(before)?;
        set.paths = paths;
        set.paths.sort_by_key(|path| path.id);
        for index in 0..set.paths.len() {
            let digest = set.path_digest(&set.paths[index]);
            set.paths[index].digest = digest;
        }
        Ok(set)
    }
}

pub(super) fn by_name<'a, T>(
    kind: &'static str,
    items: &'a [T],
    name: fn(&T) -> &Name,
) -> Result<BTreeMap<&'a Name, &'a T>, CompileError> {
    let mut map = BTreeMap::new();
    for item in items {
        if map.insert(name(item), item).is_some() {
            return Err(CompileError::DuplicateName { kind, name: name(item).to_string() });
        }
    }
    Ok(map)
}

struct Router<'a> {
    domain: &'a Domain,
    set: &'a PathSet,
}

impl Router<'_> {
    fn paths(&self, before: &Numbering) -> Result<Vec<Path>, CompileError> {
        let forward = by_name("path", &self.domain.paths, |p| &p.name)?;
        let returns = by_name("return path", &self.domain.return_paths, |p| &p.name)?;
        let services = by_name("service", &self.domain.services, |s| &s.name)?;

        // Where each return path begins, its hops, and where it ends; the file's own, then those that it leaves out.
        let mut back: BTreeMap<String, (ElementId, Vec<Name>, ElementId)> = BTreeMap::new();
        let mut routes = Vec::new();
        for path in forward.values() {
            if !services.contains_key(&path.service) {
                return Err(CompileError::UnknownService {
                    path: path.name.to_string(),
                    service: path.service.clone(),
                });
            }
            let (gateway, egress) = (self.gateway(path.standby), self.egress(&path.service));
            let (name, hops) = match &path.return_path {
                None => {
                    (format!("{}.return", path.name), path.hops.iter().rev().cloned().collect())
                }
                Some(name) => {
                    let found =
                        returns.get(name).ok_or_else(|| CompileError::UnknownReturnPath {
                            path: path.name.to_string(),
                            return_path: name.clone(),
                        })?;
                    (name.to_string(), found.hops.clone())
                }
            };
            match back.insert(name.clone(), (egress, hops, gateway)) {
                Some((other, ..)) if other != egress => {
                    return Err(CompileError::ReturnPathOfTwoEgresses {
                        return_path: path.return_path.clone().unwrap_or_else(|| path.name.clone()),
                    });
                }
                _ => routes.push((path, egress, name)),
            }
        }
        if routes.len() + back.len() > limits::PATHS {
            return Err(CompileError::TooMany { what: "paths", most: limits::PATHS });
        }
        let none = PathId(0);
        let mut returns = Vec::with_capacity(back.len());
        for (name, (egress, hops, gateway)) in &back {
            let path = self.path(none, name, Direction::Return, *egress, hops, *gateway)?;
            let definition = Definition::of(self.domain, self.set, &path, None);
            returns.push((path, definition));
        }
        let back_of = |name: &str| returns.iter().position(|(path, _)| path.name == name);
        let mut forwards = Vec::with_capacity(routes.len());
        for (path, egress, return_name) in routes {
            let gateway = self.gateway(path.standby);
            let mut built =
                self.path(none, &path.name, Direction::Forward, gateway, &path.hops, egress)?;
            built.service = Some(path.service.clone());
            let back = back_of(&return_name);
            let of_back = back.and_then(|at| Some(&returns.get(at)?.1));
            let definition = Definition::of(self.domain, self.set, &built, of_back);
            forwards.push((built, definition, back));
        }
        // Those that stay keep their numbers; the others get theirs in this order.
        let mut numbers = Numbers::after(before);
        for (path, definition, _) in &mut forwards {
            path.id = numbers.take(definition)?;
        }
        for (path, definition) in &mut returns {
            path.id = numbers.take(definition)?;
        }
        let mut paths = Vec::with_capacity(forwards.len() + returns.len());
        for (mut path, _, back) in forwards {
            path.return_path = back.and_then(|at| Some(returns.get(at)?.0.id));
            paths.push(path);
        }
        paths.extend(returns.into_iter().map(|(path, _)| path));
        Ok(paths)
    }

    fn path(
        &self,
        id: PathId,
        name: &str,
        direction: Direction,
        origin: ElementId,
        functions: &[Name],
        end: ElementId,
    ) -> Result<Path, CompileError> {
        if functions.len() > limits::HOPS_A_PATH {
            return Err(CompileError::TooMany {
                what: "functions of a path",
                most: limits::HOPS_A_PATH,
            });
        }
        let mut hops: Vec<Hop> = Vec::with_capacity(functions.len());
        let granted = grants(self.domain, direction, functions);
        for (function, grant) in functions.iter().zip(&granted) {
            let unknown = || CompileError::UnknownFunction {
                path: name.to_owned(),
                function: function.clone(),
            };
            let element =
                self.set.elements.iter().find(|e| e.role == Role::Hop && e.name == **function);
            let element = element.ok_or_else(unknown)?;
            let spec = self.domain.functions.iter().find(|f| f.name == *function);
            let spec = spec.ok_or_else(unknown)?;
            if hops.iter().any(|hop| hop.element == element.id) {
                return Err(CompileError::FunctionTwice {
                    path: name.to_owned(),
                    function: function.clone(),
                });
            }
            hops.push(Hop {
                element: element.id,
                label: element.label,
                intrusive: spec.intrusive,
                originates: self.set.profile.has_nsh() && spec.originates(),
                reads: grant.reads,
                adds: grant.adds,
            });
        }
        let last = self.set.element(end).or(self.set.elements.first());
        let last =
            last.ok_or(CompileError::TooMany { what: "elements", most: limits::ELEMENTS })?;
        let end = Hop {
            element: end,
            label: last.label,
            intrusive: true,
            originates: false,
            reads: granted.last().copied().unwrap_or_default().reads,
            adds: Kinds::NONE,
        };
        let mut path = Path {
            id,
            name: name.to_owned(),
            direction,
            origin,
            segments: segments(origin, &hops, end),
            hops,
            end,
            return_path: None,
            service: None,
            inner_mtu: 0,
            digest: PathDigest([0; 32]),
        };
        let link = self.set.link.kind();
        let steering = path.extent().steering(self.set.profile, self.set.integrity, link);
        let steering =
            steering.map_err(|why| CompileError::NshTooLong { path: name.to_owned(), why })?;
        let link_mtu = usize::from(self.set.link_mtu);
        let left = overhead::inner_mtu_bytes(link, link_mtu, steering, self.set.esp_mode);
        let left = left.unwrap_or(0);
        if left < usize::from(limits::INNER_MTU_MIN_BYTES) {
            return Err(CompileError::MtuTooSmall { path: name.to_owned(), left_bytes: left });
        }
        path.inner_mtu = left as u16;
        Ok(path)
    }

    /// The gateway that paths begin at.
    fn gateway(&self, standby: bool) -> ElementId {
        let name = if standby { STANDBY } else { "gateway" };
        self.set.element_named(name).map_or(ElementId(0), |gateway| gateway.id)
    }

    fn egress(&self, service: &Name) -> ElementId {
        let name =
            if self.domain.egress.per_service { egress_name(service) } else { "egress".to_owned() };
        let first_hop = self.set.elements.iter().find(|e| e.role == Role::Egress && e.name == name);
        first_hop.map_or(ElementId(0), |e| e.id)
    }
}

pub(super) fn segments(origin: ElementId, hops: &[Hop], end: Hop) -> Vec<Segment> {
    let mut segments = Vec::new();
    let (mut sender, mut from) = (origin, 0);
    for (to, hop) in (1u8..).zip(hops.iter().copied().chain(std::iter::once(end))) {
        if hop.intrusive {
            segments.push(Segment { sender, receiver: hop.element, from, to });
            (sender, from) = (hop.element, to);
        }
    }
    segments
}
