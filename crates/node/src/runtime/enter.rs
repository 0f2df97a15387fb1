//! Joins the network of a running domain from outside (setns(2)), for `ringmail exec`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, UnshareFlags, move_into_link_name_space,
    move_into_thread_name_spaces, unshare_unsafe,
};

use super::record::Record;

/// A namespace of a running domain cannot be entered. The process may be in the domain's user namespace by then, and
/// should end.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The caller's fault.
    #[error("domain {domain} has no namespace {namespace}")]
    Unknown {
        /// Which domain.
        domain: String,
        /// As it was given.
        namespace: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// It ends at this moment.
    #[error("domain {domain} is not up any more")]
    Ended {
        /// Which domain.
        domain: String,
    },
    /// The right is missing.
    #[error("namespace {namespace}: {step}")]
    System {
        /// Which.
        namespace: String,
        /// What was being done.
        step: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
}

impl EnterError {
    /// What the user can do about it, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            EnterError::Unknown { known, .. } => Some(format!("it has {}", known.join(", "))),
            _ => None,
        }
    }
}

impl Record {
    /// Moves the process into a namespace of this running domain, for good. `/sys` shows its interfaces from then on,
    /// where the machine allows it.
    ///
    /// # Errors
    /// There is no such namespace, the domain ends, or the right is missing; a process with several threads cannot
    /// enter a rootless domain.
    pub fn enter(&self, namespace: &str) -> Result<(), EnterError> {
        let Some(file) = self.namespace_file(namespace) else {
            return Err(EnterError::Unknown {
                domain: self.domain.clone(),
                namespace: namespace.to_owned(),
                known: self.namespaces.iter().map(|held| held.name.clone()).collect(),
            });
        };
        let failed = |step| {
            let namespace = namespace.to_owned();
            move |source: io::Error| EnterError::System { namespace, step, source }
        };
        // A handle on the very process that runs the domain: its numbers below are its own.
        let ended = || EnterError::Ended { domain: self.domain.clone() };
        let owner = self.owner.handle().ok_or_else(ended)?;
        if self.rootless {
            move_into_thread_name_spaces(owner.as_fd(), ThreadNameSpaceType::USER)
                .map_err(|error| failed("its user namespace cannot be entered")(error.into()))?;
        }
        let netns = File::open(&file).map_err(failed("it cannot be opened"))?;
        if !self.owner.is_alive() {
            return Err(ended());
        }
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| failed("it cannot be entered")(error.into()))?;
        if let Err(error) = show_interfaces() {
            tracing::debug!(%error, "/sys shows the interfaces of another namespace");
        }
        Ok(())
    }
}

/// A view of the file system of our own, in which /sys belongs to the network namespace that was entered.
fn show_interfaces() -> io::Result<()> {
    // SAFETY: only CLONE_NEWNS; the file descriptor table stays as it is.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    // What is mounted here stays here, and what goes outside goes here.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let sys = Path::new("/sys");
    // In a user namespace /sys cannot be taken away; it is covered instead.
    let _covered = unmount(sys, UnmountFlags::DETACH);
    Ok(mount("sysfs", sys, "sysfs", MountFlags::empty(), None)?)
}
