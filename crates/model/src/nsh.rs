//! How the Network Service Header of a path is laid out: the one place that knows, for the data plane, for the inner MTU
//! and for the tests (`docs/nsh.md`).
//!
//! The layout is the same at every position of a path, so that nothing moves on the way:
//!
//! ```text
//! | base 4, path 4 | proof: origin 8, sequence 8, tag 16, key ids 2 × (hops + 1) | marks 8 × (segments − 1)
//! | metadata, one a reader: key id 4, sealed, ICV 16 | mac: key id 4, MAC 16 |
//! ```

use std::ops::Range;

use crate::integrity::Scope;

/// Metadata class of all context headers: experimental (RFC 8300 section 9.1.4).
pub const CLASS: u16 = 0xfff6;

/// Bytes of base header and service path header.
pub const HEADER_BYTES: usize = 8;

/// Bytes in front of a context header's value.
pub const CONTEXT_BYTES: usize = 4;

/// Bytes of the longest NSH (RFC 8300 section 2.2).
pub const MAX_BYTES: usize = 252;

/// Bytes of the longest value of a context header (RFC 8300 section 2.5.1).
pub const MAX_VALUE_BYTES: usize = 127;

/// Bytes of origin, of sequence number, of a mark.
pub const WORD_BYTES: usize = 8;

/// Bytes of a tag or a MAC.
pub const TAG_BYTES: usize = 16;

/// Bytes of a key id in the proof.
pub const PROVER_KEY_ID_BYTES: usize = 2;

/// Bytes of a key id in front of metadata or a MAC.
pub const KEY_ID_BYTES: usize = 4;

/// Bytes of the integrity check value of sealed metadata.
pub const METADATA_ICV_BYTES: usize = 16;

/// Bytes of a timestamp of RFC 9145 (section 6).
pub const TIMESTAMP_BYTES: usize = 8;

/// Bytes of the value of RFC 9145's context header as ringmail has it: length and key id, timestamp, no nonce, MAC.
const MAC_9145_BYTES: usize = 1 + KEY_ID_BYTES + TIMESTAMP_BYTES + 1 + TAG_BYTES;

/// The context headers that a path may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Context {
    /// Origin, sequence number, tag and key ids of the proof of transit.
    Proof = 1,
    /// What the segments behind the packet left.
    Marks = 2,
    /// Metadata for one reader.
    Metadata = 3,
    /// The code over all.
    Mac = 4,
    /// "MAC and Encrypted Metadata #1" (RFC 9145 section 5.1).
    Mac1 = 5,
    /// "MAC and Encrypted Metadata #2" (RFC 9145 section 5.2).
    Mac2 = 6,
}

impl Context {
    /// Metadata class and type on the wire.
    pub const fn wire(self) -> (u16, u8) {
        match self {
            Context::Proof | Context::Marks | Context::Metadata | Context::Mac => {
                (CLASS, self as u8)
            }
            // RFC 9145 section 10: types of the IETF's base class.
            Context::Mac1 => (0, 2),
            Context::Mac2 => (0, 3),
        }
    }
}

/// What of a path decides its layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Functions on the path.
    pub hops: usize,
    /// Stretches between elements that hold plaintext: intrusive functions and one.
    pub segments: usize,
    /// Whether packets prove the way that they came.
    pub proof: bool,
    /// Whether there is a code over the header on every link.
    pub mac: bool,
    /// What that covers, if it is the one of RFC 9145.
    pub scope: Option<Scope>,
    /// Bytes of the items that each reader gets, by position; those that get none are left out.
    pub metadata: Vec<usize>,
}

/// Where everything is, in bytes from the beginning of the NSH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Each context header: what it is, and where its value is.
    contexts: Vec<(Context, Range<usize>)>,
    len: usize,
    proof: Option<ProofLayout>,
    mac: Option<usize>,
}

/// The operator asked for more on a path than its header can carry: fewer functions or less metadata would fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLong {
    /// All of it.
    #[error("its NSH would take {0} bytes, and the longest has {MAX_BYTES}")]
    Header(usize),
    /// One context header.
    #[error(
        "one of its context headers would take {0} bytes, and the longest has {MAX_VALUE_BYTES}"
    )]
    Value(usize),
}

impl Layout {
    /// The layout of a path of this shape.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn new(shape: &Shape) -> Result<Layout, TooLong> {
        let hops = shape.hops;
        let mut layout = Layout { contexts: Vec::new(), len: HEADER_BYTES, proof: None, mac: None };
        if shape.proof {
            let key_ids = PROVER_KEY_ID_BYTES * (shape.hops + 1);
            layout.push(Context::Proof, 2 * WORD_BYTES + TAG_BYTES + key_ids)?;
            if shape.segments > 1 {
                layout.push(Context::Marks, WORD_BYTES * (shape.segments - 1))?;
            }
        }
        for items in &shape.metadata {
            layout.push(Context::Metadata, KEY_ID_BYTES + items + METADATA_ICV_BYTES)?;
        }
        if shape.mac {
            match shape.scope {
                None => layout.push(Context::Mac, KEY_ID_BYTES + TAG_BYTES)?,
                Some(Scope::Mac1) => layout.push(Context::Mac1, MAC_9145_BYTES)?,
                Some(Scope::Mac2) => layout.push(Context::Mac2, MAC_9145_BYTES)?,
            }
        }
        let value = |context| layout.value(context);
        let (marks, mac) = (value(Context::Marks), value(Context::Mac));
        let proof = value(Context::Proof).map(|origin| ProofLayout { origin, marks, hops });
        (layout.proof, layout.mac) = (proof, mac);
        Ok(layout)
    }

    fn push(&mut self, context: Context, value_bytes: usize) -> Result<(), TooLong> {
        let start = self.len + CONTEXT_BYTES;
        let len = start + value_bytes.next_multiple_of(4);
        if value_bytes > MAX_VALUE_BYTES {
            return Err(TooLong::Value(value_bytes));
        }
        if len > MAX_BYTES {
            return Err(TooLong::Header(len));
        }
        self.contexts.push((context, start..start + value_bytes));
        self.len = len;
        Ok(())
    }

    /// Bytes of the whole header.
    pub fn len_bytes(&self) -> usize {
        self.len
    }

    /// Each context header: what it is, and where its value is.
    pub fn contexts(&self) -> impl Iterator<Item = (Context, Range<usize>)> + '_ {
        self.contexts.iter().cloned()
    }

    fn value(&self, wanted: Context) -> Option<usize> {
        let found = self.contexts.iter().find(|(context, _)| *context == wanted)?;
        Some(found.1.start)
    }

    /// Where the proof's parts are, if there is a proof.
    #[inline]
    pub fn proof(&self) -> Option<ProofLayout> {
        self.proof
    }

    /// Where the key id of the code over all is, if there is one; the code is behind it.
    #[inline]
    pub fn mac(&self) -> Option<usize> {
        self.mac
    }

    /// Where the parts of RFC 9145's code are, if that is the one.
    pub fn mac_9145(&self) -> Option<Mac9145Layout> {
        let first = self.value(Context::Mac1).map(|value| (value, Scope::Mac1));
        let second = || self.value(Context::Mac2).map(|value| (value, Scope::Mac2));
        let (value, scope) = first.or_else(second)?;
        Some(Mac9145Layout { value, scope })
    }

    /// Where the key id of the code over all is, whichever it is.
    pub fn link_key_id(&self) -> Option<usize> {
        self.mac().or_else(|| Some(self.mac_9145()?.key_id().start))
    }

    /// Where the metadata of each reader is, in the order of the shape.
    pub fn metadata(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let metadata = |(context, _): &&(Context, _)| *context == Context::Metadata;
        self.contexts.iter().filter(metadata).map(|(_, range)| range.clone())
    }
}

/// Where the parts of a proof of transit are, in bytes from the beginning of the NSH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProofLayout {
    origin: usize,
    marks: Option<usize>,
    hops: usize,
}

impl ProofLayout {
    /// Who began the proof.
    pub fn origin(&self) -> Range<usize> {
        self.origin..self.origin + WORD_BYTES
    }

    /// The origin's count.
    pub fn sequence(&self) -> Range<usize> {
        self.origin + WORD_BYTES..self.origin + 2 * WORD_BYTES
    }

    /// The tag of the last element that the packet left.
    pub fn tag(&self) -> Range<usize> {
        let start = self.origin + 2 * WORD_BYTES;
        start..start + TAG_BYTES
    }

    /// The key id of the element at this position, 0 being where the path begins; none behind the last hop.
    pub fn key_id(&self, position: usize) -> Option<Range<usize>> {
        let start = self.tag().end + PROVER_KEY_ID_BYTES * position;
        (position <= self.hops).then_some(start..start + PROVER_KEY_ID_BYTES)
    }

    /// What the segment of this index left; none for the last, whose mark is in ESP.
    pub fn mark(&self, segment: usize, segments: usize) -> Option<Range<usize>> {
        let start = self.marks? + WORD_BYTES * segment;
        (segment + 1 < segments).then_some(start..start + WORD_BYTES)
    }
}

/// Where the parts of RFC 9145's context header are, in bytes from the beginning of the NSH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac9145Layout {
    value: usize,
    /// What the code covers.
    pub scope: Scope,
}

impl Mac9145Layout {
    /// The length of the key id.
    pub fn key_id_len(&self) -> usize {
        self.value
    }

    /// The key id.
    pub fn key_id(&self) -> Range<usize> {
        self.value + 1..self.value + 1 + KEY_ID_BYTES
    }

    /// When the packet entered its path.
    pub fn timestamp(&self) -> Range<usize> {
        let start = self.key_id().end;
        start..start + TIMESTAMP_BYTES
    }

    /// The length of the nonce: there is none, since nothing within this header is encrypted.
    pub fn nonce_len(&self) -> usize {
        self.timestamp().end
    }

    /// The code.
    pub fn mac(&self) -> Range<usize> {
        let start = self.nonce_len() + 1;
        start..start + TAG_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn six() -> Shape {
        Shape { hops: 6, segments: 7, proof: true, mac: true, ..Shape::default() }
    }

    /// 8, then 4 + 32 + 14 + 2 of padding, 4 + 48, 4 + 20.
    #[test]
    fn six_intrusive_functions_by_hand() {
        let layout = Layout::new(&six()).unwrap();
        assert_eq!(layout.len_bytes(), 8 + 52 + 52 + 24);
        let proof = layout.proof().unwrap();
        assert_eq!((proof.origin(), proof.sequence(), proof.tag()), (12..20, 20..28, 28..44));
        assert_eq!((proof.key_id(0), proof.key_id(6)), (Some(44..46), Some(56..58)));
        assert_eq!(proof.key_id(7), None);
        assert_eq!((proof.mark(0, 7), proof.mark(5, 7)), (Some(64..72), Some(104..112)));
        assert_eq!(proof.mark(6, 7), None);
        assert_eq!(layout.mac(), Some(116));
    }

    #[test]
    fn what_is_not_asked_for_takes_no_room() {
        let bare = Layout::new(&Shape { hops: 2, segments: 1, ..Shape::default() }).unwrap();
        assert_eq!((bare.len_bytes(), bare.proof(), bare.mac()), (8, None, None));
        let one = Shape { segments: 1, ..six() };
        let one = Layout::new(&one).unwrap();
        assert_eq!((one.len_bytes(), one.proof().unwrap().mark(0, 1)), (8 + 52 + 24, None));
    }

    #[test]
    fn metadata_stands_between_marks_and_mac() {
        let layout = Layout::new(&Shape { metadata: vec![5, 40], ..six() }).unwrap();
        assert_eq!(layout.metadata().collect::<Vec<_>>(), [116..141, 148..208]);
        assert_eq!((layout.mac(), layout.len_bytes()), (Some(212), 232));
        let whole: Vec<Context> = layout.contexts().map(|(context, _)| context).collect();
        use Context::{Mac, Marks, Metadata, Proof};
        assert_eq!(whole, [Proof, Marks, Metadata, Metadata, Mac]);
    }

    /// RFC 9145 section 5: 4 of header, then 1 + 4 + 8 + 1 + 16 and 2 of padding.
    #[test]
    fn the_code_of_rfc_9145_is_last_and_by_hand() {
        let layout = |scope| {
            let shape = Shape { scope: Some(scope), metadata: vec![5], ..six() };
            Layout::new(&shape).unwrap()
        };
        for (scope, context, wire) in
            [(Scope::Mac1, Context::Mac1, (0, 2)), (Scope::Mac2, Context::Mac2, (0, 3))]
        {
            let layout = layout(scope);
            assert_eq!((layout.len_bytes(), layout.mac()), (8 + 52 + 52 + 4 + 28 + 4 + 32, None));
            assert_eq!(layout.contexts().last(), Some((context, 148..178)));
            assert_eq!(context.wire(), wire);
            let mac = layout.mac_9145().unwrap();
            assert_eq!((mac.scope, mac.key_id_len(), mac.key_id()), (scope, 148, 149..153));
            assert_eq!((mac.timestamp(), mac.nonce_len(), mac.mac()), (153..161, 161, 162..178));
            assert_eq!(layout.link_key_id(), Some(149));
        }
    }

    #[test]
    fn what_no_header_can_carry_is_refused() {
        let sixteen = Shape { hops: 15, segments: 16, ..six() };
        assert_eq!(Layout::new(&sixteen).unwrap().len_bytes(), 8 + 68 + 124 + 24);
        assert_eq!(Layout::new(&Shape { segments: 17, ..six() }), Err(TooLong::Value(128)));
        let much = Shape { metadata: vec![107], ..sixteen };
        assert_eq!(Layout::new(&much), Err(TooLong::Header(332)));
        assert_eq!(Layout::new(&Shape { metadata: vec![108], ..six() }), Err(TooLong::Value(128)));
    }
}
