//! The right to make networks, for the verbs that run chains on this machine.

use ringmail_node::topology::{Privilege, PrivilegeError};

use crate::error::Failure;

/// Takes the right that there is. Called while the process has one thread.
pub(crate) fn acquire() -> Result<Privilege, Failure> {
    let privilege = Privilege::acquire().map_err(told)?;
    // Before anything is made: later on an element would fail for the same reason, and its log would be long.
    Privilege::check_tun().map_err(told)?;
    Ok(privilege)
}

fn told(error: PrivilegeError) -> Failure {
    let hint = error.hint();
    Failure::from(error).unchanged("nothing was started").hint(hint)
}
