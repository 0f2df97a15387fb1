//! The one encoding of each message, both ways.

use super::super::documents::Documents;
use super::super::reason::{CloseReason, Nack};
use super::wire::{Reader, Writer};
use super::{EnrolSecret, Message, MessageError, Offer, Usage};
use crate::ids::PathDigest;
use crate::limits;
use crate::pathset::SignedPathSet;

impl Message {
    /// The one encoding, its length in front.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer(vec![0; 4]);
        match self {
            Message::Hello { protocol, life, active, highest } => {
                out.kind(1).u8(*protocol).fixed(life).u64(active.0).u64(highest.0);
            }
            Message::Ack { version } => {
                out.kind(2).u64(version.0);
            }
            Message::Nack { version, reason, detail } => {
                out.kind(3).u64(version.0).u8(*reason as u8).bytes(shown(detail));
            }
            Message::Activated { version } => {
                out.kind(4).u64(version.0);
            }
            Message::LeaseRequest { digest } => {
                out.kind(5).fixed(&digest.0);
            }
            Message::CertificateRequest { number, usage, request } => {
                out.kind(6).u32(*number);
                match usage {
                    Usage::Element => out.u8(1),
                    Usage::Listener { listener, index } => {
                        out.u8(2).bytes(listener.as_bytes()).u16(*index)
                    }
                };
                out.bytes(request);
            }
            Message::Enrol { element, secret, request } => {
                out.kind(7).bytes(element.as_bytes()).fixed(&secret.0).bytes(request);
            }
            Message::Seen { number, seen } => out.kind(8).u32(*number).seen(seen),
            Message::Welcome { protocol, life, now_unix_ms, committed } => {
                out.kind(16).u8(*protocol).fixed(life).u64(*now_unix_ms).u64(committed.0);
            }
            Message::Offer { version, offer, documents } => {
                let Documents { paths, domain_file, domain_signature } = &**documents;
                out.kind(17).u64(version.0).u8(*offer as u8);
                out.bytes(&paths.bytes).bytes(&paths.signature);
                out.bytes(domain_file.as_bytes()).bytes(domain_signature);
            }
            Message::Activate { version } => {
                out.kind(18).u64(version.0);
            }
            Message::Abandon { version } => {
                out.kind(19).u64(version.0);
            }
            Message::Lease { signed } => {
                out.kind(20).bytes(signed);
            }
            Message::Certificate { number, not_after_unix_s, chain } => {
                out.kind(21).u32(*number).u64(*not_after_unix_s).list(chain);
            }
            Message::Refused { number, detail } => {
                out.kind(22).u32(*number).bytes(shown(detail));
            }
            Message::Bundle { roots, crls, path_key } => {
                out.kind(23).list(roots).list(crls).fixed(path_key);
            }
            Message::Absent { version, elements } => {
                let names = elements.iter().take(limits::PDP_LIST_ENTRIES);
                let names: Vec<_> = names.map(|name| name.as_bytes().to_vec()).collect();
                out.kind(24).u64(version.0).list(&names);
            }
            Message::Look { number, look } => out.kind(25).u32(*number).look(look),
            Message::Heartbeat => {
                out.kind(32);
            }
            Message::Close { reason } => {
                out.kind(33).u8(*reason as u8);
            }
        }
        let length = (out.0.len() - 4) as u32;
        out.0[..4].copy_from_slice(&length.to_be_bytes());
        out.0
    }

    /// The message of these bytes, which have no length in front any more.
    ///
    /// # Errors
    /// Bytes that [`Message::encode`] never makes.
    pub fn decode(bytes: &[u8]) -> Result<Message, MessageError> {
        let mut input = Reader(bytes);
        let message = match input.u8("its type")? {
            1 => Message::Hello {
                protocol: input.u8("protocol")?,
                life: input.fixed("life")?,
                active: input.version()?,
                highest: input.version()?,
            },
            2 => Message::Ack { version: input.version()? },
            3 => Message::Nack {
                version: input.version()?,
                reason: Nack::from_code(input.u8("reason")?)
                    .ok_or(MessageError::Value("reason"))?,
                detail: input.detail()?,
            },
            4 => Message::Activated { version: input.version()? },
            5 => Message::LeaseRequest { digest: PathDigest(input.fixed("digest")?) },
            6 => Message::CertificateRequest {
                number: input.u32("number")?,
                usage: match input.u8("usage")? {
                    1 => Usage::Element,
                    2 => Usage::Listener {
                        listener: input.text("listener", limits::NAME_BYTES)?,
                        index: input.u16("index")?,
                    },
                    _ => return Err(MessageError::Value("usage")),
                },
                request: input.bytes("request", limits::PDP_ITEM_BYTES)?.to_vec(),
            },
            7 => Message::Enrol {
                element: input.text("element", limits::ELEMENT_NAME_BYTES)?,
                secret: EnrolSecret(input.fixed("secret")?),
                request: input.bytes("request", limits::PDP_ITEM_BYTES)?.to_vec(),
            },
            8 => Message::Seen { number: input.u32("number")?, seen: input.seen()? },
            16 => Message::Welcome {
                protocol: input.u8("protocol")?,
                life: input.fixed("life")?,
                now_unix_ms: input.u64("time")?,
                committed: input.version()?,
            },
            17 => Message::Offer {
                version: input.version()?,
                offer: {
                    let code = usize::from(input.u8("offer")?);
                    let known = Offer::ALL.get(code).copied();
                    known.ok_or(MessageError::Value("offer"))?
                },
                documents: Box::new(Documents {
                    paths: SignedPathSet {
                        bytes: input.bytes("path set", limits::PDP_OFFER_BYTES)?.to_vec(),
                        signature: input.bytes("signature", limits::PDP_ITEM_BYTES)?.to_vec(),
                    },
                    domain_file: input.text("domain file", limits::DOMAIN_FILE_BYTES)?,
                    domain_signature: input.bytes("signature", limits::PDP_ITEM_BYTES)?.to_vec(),
                }),
            },
            18 => Message::Activate { version: input.version()? },
            19 => Message::Abandon { version: input.version()? },
            20 => Message::Lease { signed: input.bytes("lease", limits::PDP_ITEM_BYTES)?.to_vec() },
            21 => Message::Certificate {
                number: input.u32("number")?,
                not_after_unix_s: input.u64("end")?,
                chain: input.list("chain", limits::PDP_ITEM_BYTES)?,
            },
            22 => Message::Refused { number: input.u32("number")?, detail: input.detail()? },
            23 => Message::Bundle {
                roots: input.list("roots", limits::PDP_ITEM_BYTES)?,
                crls: input.list("lists", limits::PDP_OFFER_BYTES)?,
                path_key: input.fixed("key")?,
            },
            24 => Message::Absent {
                version: input.version()?,
                elements: {
                    let names = input.list("elements", limits::ELEMENT_NAME_BYTES)?;
                    let names: Result<_, _> = names.into_iter().map(String::from_utf8).collect();
                    names.map_err(|_| MessageError::Value("elements"))?
                },
            },
            25 => Message::Look { number: input.u32("number")?, look: input.look()? },
            32 => Message::Heartbeat,
            33 => Message::Close {
                reason: CloseReason::from_code(input.u8("reason")?)
                    .ok_or(MessageError::Value("reason"))?,
            },
            _ => return Err(MessageError::Value("type")),
        };
        match input.0.len() {
            0 => Ok(message),
            more => Err(MessageError::Trailing(more)),
        }
    }
}

/// What is sent of a text for people.
fn shown(detail: &str) -> &[u8] {
    short(detail, limits::PDP_DETAIL_BYTES)
}

/// Whole characters, up to so many bytes.
pub(super) fn short(text: &str, most: usize) -> &[u8] {
    &text.as_bytes()[..text.floor_char_boundary(most)]
}
