//! Who an element on a machine of its own is: by its state directory, or by the token that it enrols with.

use anyhow::{Result, bail, ensure};
use ringmail_trust::Token;

use super::super::enrol;
use super::super::store::{Enrolled, StateDir};
use super::{MachineSettings, unix_s};

/// Who the element is, by its state directory or its token.
pub(super) async fn enrolled(settings: &MachineSettings, dir: &StateDir) -> Result<Enrolled> {
    let name = &settings.name;
    match (dir.enrolled()?, &settings.token) {
        (Some(enrolled), token) => {
            let (found, place) = (&enrolled.element, settings.state.display());
            ensure!(found == name, "{place} is the state directory of `{found}`, not of `{name}`");
            if token.is_some() && enrolled.certificates.not_after_unix_s > unix_s() {
                tracing::info!("the element has enrolled before; the token is not used");
            }
            let over = enrolled.certificates.not_after_unix_s <= unix_s();
            match token.as_ref().filter(|_| over) {
                Some(token) => with_token(settings, dir, token).await,
                None => Ok(enrolled),
            }
        }
        (None, Some(token)) => with_token(settings, dir, token).await,
        (None, None) => bail!("`{name}` has not enrolled, and there is no token to enrol with"),
    }
}

async fn with_token(settings: &MachineSettings, dir: &StateDir, token: &Token) -> Result<Enrolled> {
    let (name, named) = (&settings.name, &token.element);
    ensure!(name == named, "the token is that of `{named}`, not of `{name}`");
    let enrolled = enrol::enrol(&settings.control, token).await?;
    dir.save_enrolled(&enrolled)?;
    tracing::info!(element = %name, "enrolled");
    Ok(enrolled)
}
