//! Why an element does not take another version of the domain.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An element's no to a version of the domain. Nothing changed there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nack {
    /// Whose fault it is.
    pub fault: Fault,
    /// For people.
    pub reason: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Whose fault it is that a version was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// Whoever signed or sent it: signature, version, validity, order of the steps.
    Signer,
    /// The domain file: it asks for what cannot change in place.
    Domain,
    /// The element: its machine does not give what the version needs.
    Element,
    /// A neighbour: no keys could be agreed with it.
    Neighbour,
}

impl Nack {
    /// A no without a hint.
    pub fn new(fault: Fault, reason: String) -> Nack {
        Nack { fault, reason, hint: None }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(self, hint: &str) -> Nack {
        Nack { hint: Some(hint.to_owned()), ..self }
    }
}

impl fmt::Display for Nack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}
