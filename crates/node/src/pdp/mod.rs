//! A domain on several machines: path distribution over TLS (`docs/pdp.md`), control on one of them, one element on each.
//!
//! The protocol itself is [`ringmail_model::pdp`]; here are TLS, TCP, disks and the clock.
//!
//! ```text
//!  control: authority ── press ── hub (Publisher) ◄── sessions ◄── listener ── handshake | enrolment
//!                                                        ▲
//!  machine: state directory ── follower ── TLS ──────────┘
//!              └── feeds the element's runtime over a control channel, as `up` does
//! ```

mod control;
mod desk;
mod enrol;
mod feed;
pub mod limits;
mod link;
mod look;
mod machine;
mod press;
mod session;
mod store;
mod tls;

pub(crate) use control::control_identity;
pub use control::{Control, ControlError, ControlSettings, Distributed};
pub use machine::{MachineSettings, run};
pub use press::Press;
pub use ringmail_model::pdp::Absent;
