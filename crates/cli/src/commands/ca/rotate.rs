//! `ringmail ca rotate …`: a new root in the place of the old, with both believed in between.

use std::io::{self, Write};
use std::path::PathBuf;

use ringmail_trust::{Anchor, EmbeddedCa, Rotation, Stage};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Certificate, rfc_3339, told};
use crate::error::Failure;
use crate::output::Report;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Say how far a rotation is, and what it waits for
    Status,
    /// Make a new root, which is believed from now on and signs nothing yet
    Begin,
    /// Let the new root sign from now on; the old one is still believed
    Switch {
        /// Do so before every element can know the new root: those that do not cannot be reached
        #[arg(long)]
        early: bool,
    },
    /// Believe the old root no longer and destroy its key
    Finish {
        /// Do so while something that it signed still holds, and revoke that
        #[arg(long)]
        early: bool,
    },
    /// Take a new root back that signs nothing yet
    Cancel,
}

/// How far the rotation of an authority's root is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Rotating {
    /// The authority's directory.
    dir: PathBuf,
    /// The file with all roots that are to be believed.
    roots_file: PathBuf,
    /// `none`, `announced` (the new root signs nothing yet) or `switched` (the new root signs, the old is believed).
    stage: &'static str,
    /// The roots, the one first that signs.
    roots: Vec<Root>,
    /// When the next stage may begin (RFC 3339), if one is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<String>,
    /// What the old root signed and still holds, in the order of its end.
    waits_for: Vec<Certificate>,
}

/// One root certificate.
#[derive(Debug, Serialize, JsonSchema)]
struct Root {
    /// The first root of an authority is 1, the next 2.
    number: u32,
    /// SHA-256 of the certificate.
    sha256: String,
    /// From when on it holds (RFC 3339).
    not_before: String,
    /// Until when it holds (RFC 3339).
    not_after: String,
    /// Whether it signs.
    signs: bool,
}

impl Report for Rotating {
    const NAME: &'static str = "ca-rotate";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for Root { number, sha256, not_after, signs, .. } in &self.roots {
            let does = if *signs { "signs" } else { "is believed" };
            writeln!(out, "root {number}  {does:11}  until {not_after}  sha256 {sha256}")?;
        }
        let ready = self.ready.as_deref().unwrap_or_default();
        let file = self.roots_file.display();
        match self.stage {
            "announced" => writeln!(
                out,
                "give {file} to all clients; from {ready} on: ringmail ca rotate switch"
            ),
            "switched" => {
                for Certificate { kind, name, not_after, serial, .. } in &self.waits_for {
                    writeln!(out, "still holds  {kind}/{name}  until {not_after}  {serial}")?;
                }
                writeln!(
                    out,
                    "renew what still holds; from {ready} on, or when all of it is revoked: \
                     ringmail ca rotate finish"
                )
            }
            _ => writeln!(out, "no rotation is under way"),
        }
    }
}

impl Rotating {
    fn new(ca: &EmbeddedCa, rotation: Rotation) -> Rotating {
        let root = |(place, anchor): (usize, Anchor)| Root {
            number: anchor.number,
            sha256: anchor.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
            not_before: rfc_3339(anchor.not_before_unix_s),
            not_after: rfc_3339(anchor.not_after_unix_s),
            signs: place == 0,
        };
        let held = rotation.waits_for.into_iter();
        Rotating {
            dir: ca.dir().to_owned(),
            roots_file: ca.dir().join("root.pem"),
            stage: match rotation.stage {
                None => "none",
                Some(Stage::Announced) => "announced",
                Some(Stage::Switched) => "switched",
            },
            roots: rotation.anchors.into_iter().enumerate().map(root).collect(),
            ready: rotation.ready_unix_s.map(rfc_3339),
            waits_for: held.map(|(serial, record)| Certificate::new(serial, &record, 0)).collect(),
        }
    }
}

pub(super) fn run(ca: &EmbeddedCa, verb: &Verb) -> Result<Rotating, Failure> {
    let rotation = match verb {
        Verb::Status => ca.rotation(),
        Verb::Begin => ca.rotate_begin(),
        Verb::Switch { early } => ca.rotate_switch(*early),
        Verb::Finish { early } => ca.rotate_finish(*early),
        Verb::Cancel => ca.rotate_cancel(),
    };
    Ok(Rotating::new(ca, told(rotation)?))
}
