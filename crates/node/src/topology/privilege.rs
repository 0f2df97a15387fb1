//! The right to make networks: as root for the whole machine, otherwise inside a user namespace (user_namespaces(7)).
//!
//! Acquired by the first lines of a program, while it has one thread: a process with more cannot change its user
//! namespace.

use std::fs;
use std::io;

use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities, unshare_unsafe};

/// Under which right the process makes networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Root of the machine: namespaces get names, and other programs of root reach them.
    Root,
    /// Root of a user namespace of its own, made from this user.
    Rootless {
        /// The user outside.
        uid: u32,
    },
}

/// The right to make networks cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The machine does not let its users make user namespaces.
    #[error("a user namespace cannot be made")]
    UserNamespace(#[source] io::Error),
    /// The kernel refused the mapping of the user to root.
    #[error("{file} cannot be written")]
    Mapping {
        /// Which file of /proc.
        file: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// The inner side of a chain needs it.
    #[error("{TUN} cannot be opened")]
    Tun(#[source] io::Error),
}

/// The device behind every TUN.
const TUN: &str = "/dev/net/tun";

impl PrivilegeError {
    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            PrivilegeError::Tun(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                return "as root: chmod 666 /dev/net/tun, which is its usual mode";
            }
            PrivilegeError::Tun(_) => {
                return "the kernel needs the module tun; a container needs the device passed in";
            }
            PrivilegeError::UserNamespace(_) | PrivilegeError::Mapping { .. } => {}
        }
        "run as root, or allow user namespaces: sysctl user.max_user_namespaces, and on Ubuntu \
         kernel.apparmor_restrict_unprivileged_userns=0"
    }
}

impl Privilege {
    /// Whether the process is root of the machine, without changing anything.
    pub fn is_root() -> bool {
        let wanted = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
        let has = capabilities(None).is_ok_and(|sets| sets.effective.contains(wanted));
        geteuid().is_root()
            && has
            && fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| is_first(&map))
    }

    /// Whether this user may make a TUN, which chains need and networks alone do not.
    ///
    /// # Errors
    /// Why not.
    pub fn check_tun() -> Result<(), PrivilegeError> {
        let opened = fs::OpenOptions::new().read(true).write(true).open(TUN);
        opened.map(drop).map_err(PrivilegeError::Tun)
    }

    /// Takes what there is: root, or a new user, mount and network namespace in which this user is root.
    ///
    /// # Errors
    /// Neither can be had; the process is as it was.
    pub fn acquire() -> Result<Privilege, PrivilegeError> {
        if Privilege::is_root() {
            return Ok(Privilege::Root);
        }
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        // SAFETY: the file descriptor table stays shared; the kernel itself refuses a process with several threads.
        unsafe {
            unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS | UnshareFlags::NEWNET)
        }
        .map_err(|error| PrivilegeError::UserNamespace(error.into()))?;
        map("/proc/self/setgroups", "deny")?;
        map("/proc/self/uid_map", &format!("0 {uid} 1"))?;
        map("/proc/self/gid_map", &format!("0 {gid} 1"))?;
        Ok(Privilege::Rootless { uid })
    }
}

fn map(file: &'static str, text: &str) -> Result<(), PrivilegeError> {
    fs::write(file, text).map_err(|source| PrivilegeError::Mapping { file, source })
}

/// The map of the machine's first user namespace is the identity over all ids.
fn is_first(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_whole_identity_map_is_the_first_namespace() {
        assert!(super::is_first("         0          0 4294967295\n"));
        assert!(!super::is_first("         0       1000          1\n"));
        assert!(!super::is_first("         0          0          1\n"));
        assert!(!super::is_first(""));
    }
}
