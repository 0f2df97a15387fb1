//! The messages of the Path Distribution Protocol and their one encoding (`docs/pdp.md`, "Messages").
//!
//! ```text
//!  length 4 ‖ type 1 ‖ fields            length: of type and fields; numbers big-endian
//! ```
//!
//! Bytes and texts are their length (32 bits) and themselves, lists their count (16 bits) and entries.

use std::fmt;

use super::documents::Documents;
use super::reason::{CloseReason, Nack};
use crate::ids::{PathDigest, PathVersion};
use crate::limits;
use crate::pathset::SignedPathSet;

/// Which life of an element or of control speaks: random, new with every start.
pub type Life = [u8; 16];

/// What one end says to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The element's first message.
    Hello {
        /// The highest version of the protocol that it speaks.
        protocol: u8,
        /// Its life.
        life: Life,
        /// The version that it runs; 0 for none.
        active: PathVersion,
        /// The highest version that it has seen; 0 for none.
        highest: PathVersion,
    },
    /// The version is staged.
    Ack {
        /// Which.
        version: PathVersion,
    },
    /// The version is refused.
    Nack {
        /// Which.
        version: PathVersion,
        /// Why.
        reason: Nack,
        /// More, for people.
        detail: String,
    },
    /// The version is what the element runs.
    Activated {
        /// Which.
        version: PathVersion,
    },
    /// A lease for a path ends soon, or there is none.
    LeaseRequest {
        /// The path.
        digest: PathDigest,
    },
    /// A certificate is wanted over a key that the element made.
    CertificateRequest {
        /// Comes back in the answer.
        number: u32,
        /// What for.
        usage: Usage,
        /// PKCS #10 in DER.
        request: Vec<u8>,
    },
    /// The only message of an element that has no certificate yet, on a connection of its own.
    Enrol {
        /// Its name.
        element: String,
        /// The secret of its token.
        secret: EnrolSecret,
        /// PKCS #10 in DER.
        request: Vec<u8>,
    },
    /// Control's first message.
    Welcome {
        /// The version of the protocol that the session speaks.
        protocol: u8,
        /// Control's life.
        life: Life,
        /// Control's clock, in milliseconds since 1970.
        now_unix_ms: u64,
        /// The version that counts; 0 for none.
        committed: PathVersion,
    },
    /// A version to stage.
    Offer {
        /// Which.
        version: PathVersion,
        /// Whether it counts already: who cannot take it beside what runs takes it by starting again.
        counts: bool,
        /// Its documents.
        documents: Box<Documents>,
    },
    /// The staged version is to be run.
    Activate {
        /// Which.
        version: PathVersion,
    },
    /// The staged version is not to be run.
    Abandon {
        /// Which.
        version: PathVersion,
    },
    /// A signed lease.
    Lease {
        /// As the Segment Agreement Protocol has it.
        signed: Vec<u8>,
    },
    /// The answer to a request for a certificate.
    Certificate {
        /// That of the request.
        number: u32,
        /// Seconds since 1970 after which it does not hold.
        not_after_unix_s: u64,
        /// X.509 in DER, the wanted one first.
        chain: Vec<Vec<u8>>,
    },
    /// The other answer to it.
    Refused {
        /// That of the request.
        number: u32,
        /// Why, for people.
        detail: String,
    },
    /// Whom to believe from now on.
    Bundle {
        /// Root certificates in DER.
        roots: Vec<Vec<u8>>,
        /// Their revocation lists in DER.
        crls: Vec<Vec<u8>>,
        /// The path-signing key.
        path_key: [u8; 32],
    },
    /// This end lives.
    Heartbeat,
    /// This end hangs up.
    Close {
        /// Why.
        reason: CloseReason,
    },
}

/// The secret of a token; not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolSecret(pub [u8; 32]);

impl fmt::Debug for EnrolSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolSecret(…)")
    }
}

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    /// The element's own towards others of the domain.
    Element,
    /// A listener of the gateway shows it to clients.
    Listener {
        /// The listener's name.
        listener: String,
        /// Which of its certificates, in the file's order.
        index: u16,
    },
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends too early.
    #[error("it ends within {0}")]
    Truncated(&'static str),
    /// Something follows its end.
    #[error("{0} bytes follow its end")]
    Trailing(usize),
    /// A value that the field cannot have.
    #[error("its {0} has a value that does not exist")]
    Value(&'static str),
    /// It is longer than any message of this direction.
    #[error("it has {0} bytes")]
    TooLong(usize),
}

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
                out.kind(3).u64(version.0).u8(*reason as u8).bytes(shown(detail).as_bytes());
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
            Message::Welcome { protocol, life, now_unix_ms, committed } => {
                out.kind(16).u8(*protocol).fixed(life).u64(*now_unix_ms).u64(committed.0);
            }
            Message::Offer { version, counts, documents } => {
                let Documents { paths, domain_file, domain_signature } = &**documents;
                out.kind(17).u64(version.0).u8(u8::from(*counts));
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
                out.kind(22).u32(*number).bytes(shown(detail).as_bytes());
            }
            Message::Bundle { roots, crls, path_key } => {
                out.kind(23).list(roots).list(crls).fixed(path_key);
            }
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
            16 => Message::Welcome {
                protocol: input.u8("protocol")?,
                life: input.fixed("life")?,
                now_unix_ms: input.u64("time")?,
                committed: input.version()?,
            },
            17 => Message::Offer {
                version: input.version()?,
                counts: match input.u8("flags")? {
                    0 => false,
                    1 => true,
                    _ => return Err(MessageError::Value("flags")),
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

/// What is sent of a text for people: whole characters, up to the limit.
fn shown(detail: &str) -> &str {
    &detail[..detail.floor_char_boundary(limits::PDP_DETAIL_BYTES)]
}

/// Cuts a stream of bytes into messages.
#[derive(Debug)]
pub struct Framer {
    bytes: Vec<u8>,
    /// Where the first byte is that was not handed out.
    start: usize,
    longest: usize,
}

impl Framer {
    /// For messages of at most this many bytes.
    pub fn new(longest: usize) -> Framer {
        Framer { bytes: Vec::new(), start: 0, longest }
    }

    /// Takes bytes that came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message without its length, if it is there whole.
    ///
    /// # Errors
    /// [`MessageError::TooLong`]: nothing behind it can be found any more.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, MessageError> {
        let there = &self.bytes[self.start..];
        let Some((length, rest)) = there.split_first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > self.longest {
            return Err(MessageError::TooLong(length));
        }
        let Some(message) = rest.get(..length) else { return Ok(None) };
        self.start += 4 + length;
        Ok(Some(message))
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn kind(&mut self, kind: u8) -> &mut Writer {
        self.u8(kind)
    }

    fn u8(&mut self, value: u8) -> &mut Writer {
        self.0.push(value);
        self
    }

    fn u16(&mut self, value: u16) -> &mut Writer {
        self.fixed(&value.to_be_bytes())
    }

    fn u32(&mut self, value: u32) -> &mut Writer {
        self.fixed(&value.to_be_bytes())
    }

    fn u64(&mut self, value: u64) -> &mut Writer {
        self.fixed(&value.to_be_bytes())
    }

    fn fixed(&mut self, bytes: &[u8]) -> &mut Writer {
        self.0.extend_from_slice(bytes);
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Writer {
        self.u32(bytes.len() as u32).fixed(bytes)
    }

    fn list(&mut self, entries: &[Vec<u8>]) -> &mut Writer {
        let entries = &entries[..entries.len().min(limits::PDP_LIST_ENTRIES)];
        self.u16(entries.len() as u16);
        for entry in entries {
            self.bytes(entry);
        }
        self
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn fixed<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], MessageError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(MessageError::Truncated(what))?;
        self.0 = tail;
        Ok(*head)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, MessageError> {
        self.fixed::<1>(what).map(|[byte]| byte)
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, MessageError> {
        self.fixed(what).map(u16::from_be_bytes)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, MessageError> {
        self.fixed(what).map(u32::from_be_bytes)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, MessageError> {
        self.fixed(what).map(u64::from_be_bytes)
    }

    fn version(&mut self) -> Result<PathVersion, MessageError> {
        self.u64("version").map(PathVersion)
    }

    fn bytes(&mut self, what: &'static str, most: usize) -> Result<&'a [u8], MessageError> {
        let length = self.u32(what)? as usize;
        if length > most {
            return Err(MessageError::Value(what));
        }
        let (head, tail) = self.0.split_at_checked(length).ok_or(MessageError::Truncated(what))?;
        self.0 = tail;
        Ok(head)
    }

    fn text(&mut self, what: &'static str, most: usize) -> Result<String, MessageError> {
        let bytes = self.bytes(what, most)?;
        let text = std::str::from_utf8(bytes).map_err(|_| MessageError::Value(what))?;
        Ok(text.to_owned())
    }

    fn detail(&mut self) -> Result<String, MessageError> {
        self.text("detail", limits::PDP_DETAIL_BYTES)
    }

    fn list(&mut self, what: &'static str, most: usize) -> Result<Vec<Vec<u8>>, MessageError> {
        let count = usize::from(self.u16(what)?);
        if count > limits::PDP_LIST_ENTRIES {
            return Err(MessageError::Value(what));
        }
        (0..count).map(|_| self.bytes(what, most).map(<[u8]>::to_vec)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents() -> Box<Documents> {
        Box::new(Documents {
            paths: SignedPathSet { bytes: vec![1, 2], signature: vec![3] },
            domain_file: "é".to_owned(),
            domain_signature: vec![4],
        })
    }

    /// One of each type, with its bytes: what is on the wire never changes by accident.
    fn golden() -> Vec<(Message, &'static str)> {
        let version = PathVersion(0x0102);
        let v = "0000000000000102";
        let bytes = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
        let life = [7; 16];
        let l = "07".repeat(16);
        let nack = Message::Nack { version, reason: Nack::Older, detail: "no".to_owned() };
        let listener = Usage::Listener { listener: "web".to_owned(), index: 1 };
        let request = |usage| Message::CertificateRequest { number: 9, usage, request: vec![5] };
        vec![
            (
                Message::Hello { protocol: 1, life, active: version, highest: version },
                bytes(&format!("0000002201{}{l}{v}{v}", "01")),
            ),
            (Message::Ack { version }, bytes(&format!("0000000902{v}"))),
            (nack, bytes(&format!("0000001003{v}04000000026e6f"))),
            (Message::Activated { version }, bytes(&format!("0000000904{v}"))),
            (
                Message::LeaseRequest { digest: PathDigest([8; 32]) },
                bytes(&format!("0000002105{}", "08".repeat(32))),
            ),
            (request(Usage::Element), "0000000b0600000009010000000105"),
            (
                request(listener),
                "00000014060000000902000000037765620001\
                0000000105",
            ),
            (
                Message::Enrol {
                    element: "sf1".to_owned(),
                    secret: EnrolSecret([4; 32]),
                    request: vec![5],
                },
                bytes(&format!("0000002d0700000003736631{}0000000105", "04".repeat(32))),
            ),
            (
                Message::Welcome { protocol: 1, life, now_unix_ms: 3, committed: version },
                bytes(&format!("0000002210{}{l}0000000000000003{v}", "01")),
            ),
            (
                Message::Offer { version, counts: true, documents: documents() },
                bytes(&format!("0000002011{v}01000000020102000000010300000002c3a90000000104")),
            ),
            (Message::Activate { version }, bytes(&format!("0000000912{v}"))),
            (Message::Abandon { version }, bytes(&format!("0000000913{v}"))),
            (Message::Lease { signed: vec![6, 6] }, "0000000714000000020606"),
            (
                Message::Certificate {
                    number: 9,
                    not_after_unix_s: 3,
                    chain: vec![vec![1], vec![]],
                },
                "000000181500000009000000000000000300020000000101 00000000",
            ),
            (Message::Refused { number: 9, detail: String::new() }, "00000009160000000900000000"),
            (
                Message::Bundle { roots: vec![vec![1]], crls: vec![], path_key: [2; 32] },
                bytes(&format!("0000002a170001000000010100 00{}", "02".repeat(32))),
            ),
            (Message::Heartbeat, "0000000120"),
            (Message::Close { reason: CloseReason::Silent }, "000000022103"),
        ]
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn every_message_has_one_encoding() {
        for (message, expected) in golden() {
            let expected: String = expected.split_whitespace().collect();
            let bytes = message.encode();
            assert_eq!(hex(&bytes), expected, "{message:?}");
            assert_eq!(Message::decode(&bytes[4..]), Ok(message.clone()));
            for end in 4..bytes.len() {
                assert!(Message::decode(&bytes[4..end]).is_err(), "{message:?} cut at {end}");
            }
            let longer = [&bytes[4..], &[0]].concat();
            assert_eq!(Message::decode(&longer), Err(MessageError::Trailing(1)), "{message:?}");
        }
    }

    #[test]
    fn a_stream_is_cut_where_messages_end() {
        let all: Vec<u8> = golden().iter().flat_map(|(message, _)| message.encode()).collect();
        for step in [1, 3, 7, all.len()] {
            let mut framer = Framer::new(1024);
            let mut found = Vec::new();
            for part in all.chunks(step) {
                framer.push(part);
                while let Some(message) = framer.next_message().expect("none is too long") {
                    found.push(Message::decode(message).expect("a message"));
                }
            }
            let expected: Vec<Message> = golden().into_iter().map(|(message, _)| message).collect();
            assert_eq!(found, expected);
        }
        let mut framer = Framer::new(8);
        framer.push(&9u32.to_be_bytes());
        assert_eq!(framer.next_message(), Err(MessageError::TooLong(9)));
    }

    #[test]
    fn a_text_for_people_is_cut_between_characters() {
        let message = Message::Refused { number: 0, detail: "é".repeat(limits::PDP_DETAIL_BYTES) };
        let Ok(Message::Refused { detail, .. }) = Message::decode(&message.encode()[4..]) else {
            panic!("it is no message any more")
        };
        assert_eq!(detail.len(), limits::PDP_DETAIL_BYTES);
    }
}
