//! What is signed and what is stored: statements of elements, and the files that hold them.
//!
//! A signature is over a context and the compact JSON of what it is for, the fields in the order in which they stand here.
//! There is one such JSON of each value: unknown fields are refused, and nothing is a floating-point number.

use aws_lc_rs::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bytes::Hex;
use super::tree::GROUP;
use crate::limits;

/// The `schema` of a file.
pub const FILE_SCHEMA: &str = "ringmail.proof-summary/1";

const STATEMENT: &[u8] = b"ringmail-statement/1\0";
const SUMMARY: &[u8] = b"ringmail-proof-summary/1\0";
/// The highest level of a tree over all sequences.
const LEVEL_MAX: u8 = 58;

/// The root of a stretch of sequences of an origin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// 0: one group of 64 sequences; one more: twice as many.
    pub level: u8,
    /// Which one of its level: sequences 64 · 2^level · index and on.
    pub index: u64,
    /// Packets in it.
    pub packets: u64,
    /// Of one group, which sequences there are, the first in the lowest bit.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "bits")]
    #[schemars(with = "Option<Hex<8>>")]
    pub present: Option<u64>,
    /// At a hop over the marks with which packets left it; at the end of a path over those of each segment.
    #[serde(with = "roots")]
    #[schemars(with = "Vec<Hex<32>>")]
    pub roots: Vec<[u8; 32]>,
}

/// What one worker of an element passed of one origin on one path since the statement before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trail {
    /// The path's name.
    pub path: String,
    /// The path's digest.
    pub digest: Hex<32>,
    /// The names of all elements of the path, in order.
    pub elements: Vec<String>,
    /// Which of them speaks.
    pub position: u8,
    /// Which of its workers.
    pub worker: u16,
    /// In which segment, counted from 0, packets leave it. The end says all.
    pub segment: u8,
    /// Segments of the path.
    pub segments: u8,
    /// Who began the packets: element, worker and life, as they stand in the proof.
    pub origin: Hex<8>,
    /// The position at which this origin begins packets.
    pub begins: u8,
    /// When the first packet of the origin came, in milliseconds since 1970.
    pub began_ms: u64,
    /// The first group of 64 sequences that this is about.
    pub from: u64,
    /// The first that is not over yet.
    pub to: u64,
    /// Packets that came after their group was over, since the beginning; they are in no root.
    pub late: u64,
    /// What is over.
    pub nodes: Vec<Node>,
    /// What is not over yet, as it was then.
    pub open: Vec<Node>,
}

/// Packets by what the end of a path said of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    /// `proved`, or why not.
    pub verdict: String,
    /// Of what is proved, the position from which on.
    pub from: u32,
    /// Since the element started.
    pub packets: u64,
}

/// What the end of a path counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verdicts {
    /// The path's name.
    pub path: String,
    /// By verdict.
    pub counts: Vec<Counted>,
}

/// What an element says at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The domain.
    pub domain: String,
    /// The element's name.
    pub element: String,
    /// Random, another one whenever the element begins anew.
    pub life: Hex<8>,
    /// When that was, in milliseconds since 1970.
    pub since_ms: u64,
    /// Counts from 1 in each life.
    pub number: u64,
    /// SHA-256 of what was signed of the statement before; zero for the first.
    pub previous: Hex<32>,
    /// When this was said, in milliseconds since 1970.
    pub at_ms: u64,
    /// The version of the path set that was active then.
    pub path_set: u64,
    /// What it passed.
    pub trails: Vec<Trail>,
    /// Digests of paths on which there were too many origins: some are not in the trails.
    pub untold: Vec<Hex<32>>,
    /// Where paths end, what was said of packets.
    pub verdicts: Vec<Verdicts>,
}

/// A statement with the proof of who says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// What is said.
    pub statement: Statement,
    /// The certificates of the element and of who signed it, in PEM, without the root.
    pub chain: String,
    /// By the key of the first, in hex.
    pub signature: String,
}

/// An element that said nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Silent {
    /// Its name.
    pub element: String,
    /// Why, for people.
    pub reason: String,
}

/// What all elements said at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The domain.
    pub domain: String,
    /// Counts from 1, without gaps.
    pub number: u64,
    /// SHA-256 of the file before this one; zero for the first.
    pub previous: Hex<32>,
    /// The time of the summary before, or when this run began, in milliseconds since 1970.
    pub from_ms: u64,
    /// When this one was made.
    pub to_ms: u64,
    /// By element.
    pub statements: Vec<Signed>,
    /// Who was asked and did not answer.
    pub silent: Vec<Silent>,
}

/// A file for auditors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SummaryFile {
    /// `ringmail.proof-summary/1`.
    pub schema: String,
    /// What it says.
    pub summary: Summary,
    /// The certificates of who wrote it, as in [`Signed::chain`].
    pub chain: String,
    /// By the key of the first, in hex.
    pub signature: String,
}

/// Why a file is no summary.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// Nobody writes such.
    #[error("it has more than {} bytes", limits::SUMMARY_FILE_BYTES)]
    TooLong,
    /// Not of this form.
    #[error("it is no summary of proofs")]
    Json(#[from] serde_json::Error),
    /// Another version of the form.
    #[error("its schema is `{0}`, not `{FILE_SCHEMA}`")]
    Schema(String),
    /// Not in the one way in which it is written.
    #[error("it is not written as summaries are: something was changed in it")]
    Form,
}

impl Statement {
    /// What is signed of it.
    pub fn signed_bytes(&self) -> Vec<u8> {
        in_context(STATEMENT, self)
    }

    /// What the next one names it by.
    pub fn hash(&self) -> Hex<32> {
        hash(&self.signed_bytes())
    }

    /// What does not fit together in it; no honest element says such a thing.
    pub fn fault(&self) -> Option<&'static str> {
        self.trails.iter().find_map(Trail::fault)
    }
}

impl Summary {
    /// What is signed of it.
    pub fn signed_bytes(&self) -> Vec<u8> {
        in_context(SUMMARY, self)
    }
}

impl SummaryFile {
    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = json(self);
        bytes.push(b'\n');
        bytes
    }

    /// The summary in a file, and what the next one names the file by.
    ///
    /// # Errors
    /// Bytes that [`SummaryFile::to_bytes`] never makes.
    pub fn from_bytes(bytes: &[u8]) -> Result<(SummaryFile, Hex<32>), Unread> {
        if bytes.len() > limits::SUMMARY_FILE_BYTES {
            return Err(Unread::TooLong);
        }
        let file: SummaryFile = serde_json::from_slice(bytes)?;
        if file.schema != FILE_SCHEMA {
            return Err(Unread::Schema(file.schema));
        }
        if file.to_bytes() != bytes {
            return Err(Unread::Form);
        }
        Ok((file, hash(bytes)))
    }
}

impl Node {
    /// The first group of sequences in it, and the one behind its last.
    pub(super) fn groups(&self) -> (u64, u64) {
        let first = self.index << self.level;
        (first, first.saturating_add(1 << self.level))
    }

    fn is_sound(&self, roots: usize) -> bool {
        let fits = self.level <= LEVEL_MAX && self.index <= u64::MAX >> 6 >> self.level;
        let counted = || match (self.level, self.present) {
            (0, Some(present)) => u64::from(present.count_ones()) == self.packets,
            (0, None) | (_, Some(_)) => false,
            (level, None) => {
                self.packets > 0 && u128::from(self.packets) <= u128::from(GROUP) << level
            }
        };
        fits && counted() && self.roots.len() == roots
    }
}

impl Trail {
    /// Whether the speaker is where the path ends.
    pub(super) fn is_end(&self) -> bool {
        usize::from(self.position) + 1 == self.elements.len()
    }

    /// The roots that each of its nodes has.
    fn width(&self) -> usize {
        if self.is_end() { self.segments.into() } else { 1 }
    }

    fn fault(&self) -> Option<&'static str> {
        let (width, to) = (self.width(), self.to);
        let hops = 1..=limits::HOPS_A_PATH + 2;
        let placed = |node: &Node, from, to| {
            let within = |(first, behind)| from <= first && behind <= to;
            node.is_sound(width) && within(node.groups())
        };
        if !hops.contains(&self.elements.len())
            || usize::from(self.position) >= self.elements.len()
            || self.begins > self.position
            || !(1..self.elements.len().max(2)).contains(&usize::from(self.segments))
            || self.segment >= self.segments
        {
            return Some("it names a place that its path does not have");
        }
        if self.from > to || !self.nodes.iter().all(|node| placed(node, self.from, to)) {
            return Some("a root is over what it is not about");
        }
        let open = |node: &Node| node.level == 0 && placed(node, to, u64::MAX);
        if self.open.len() > limits::SUMMARY_OPEN_GROUPS {
            return Some("more is open than can be");
        }
        (!self.open.iter().all(open)).then_some("what is open is no group, or was over before")
    }
}

fn in_context(context: &[u8], value: &impl Serialize) -> Vec<u8> {
    [context, &json(value)].concat()
}

/// Values of these types have a JSON: no map has keys that are no text.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn hash(bytes: &[u8]) -> Hex<32> {
    let mut hash = Hex::default();
    hash.0.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

mod bits {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Hex;

    #[expect(clippy::ref_option, reason = "serde hands it over so")]
    pub(super) fn serialize<S: Serializer>(bits: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        bits.map(|bits| Hex(bits.to_be_bytes())).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        let bits = Option::<Hex<8>>::deserialize(from)?;
        Ok(bits.map(|bits| u64::from_be_bytes(bits.0)))
    }
}

mod roots {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::Hex;

    pub(super) fn serialize<S: Serializer>(roots: &[[u8; 32]], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(roots.iter().map(|root| Hex(*root)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<[u8; 32]>, D::Error> {
        let roots = Vec::<Hex<32>>::deserialize(from)?;
        Ok(roots.into_iter().map(|root| root.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trail() -> Trail {
        let leaf = |index| Node {
            level: 0,
            index,
            packets: 2,
            present: Some(0b11),
            roots: vec![[1; 32], [2; 32]],
        };
        Trail {
            path: "a".to_owned(),
            elements: ["gateway", "sf1", "egress"].map(str::to_owned).to_vec(),
            position: 2,
            segments: 2,
            from: 1,
            to: 4,
            nodes: vec![leaf(1), Node { level: 1, index: 1, present: None, ..leaf(1) }],
            open: vec![leaf(4)],
            ..Trail::default()
        }
    }

    fn file() -> SummaryFile {
        let statement = Statement {
            domain: "example.org".to_owned(),
            element: "egress".to_owned(),
            number: 1,
            trails: vec![trail()],
            ..Statement::default()
        };
        let signed = Signed { statement, ..Signed::default() };
        let summary = Summary { number: 1, statements: vec![signed], ..Summary::default() };
        SummaryFile { schema: FILE_SCHEMA.to_owned(), summary, ..SummaryFile::default() }
    }

    /// What signatures are over never changes by itself.
    #[test]
    fn the_signed_bytes_are_these() {
        let node = Node { roots: vec![[0xab; 32]], present: None, level: 3, index: 2, packets: 9 };
        let trail = Trail { nodes: vec![node], ..Trail::default() };
        let statement =
            Statement { number: 7, trails: vec![trail], at_ms: 12, ..Statement::default() };
        let (zero, ab) = ("00".repeat(32), "ab".repeat(32));
        let expected = format!(
            "ringmail-statement/1\0{{\"domain\":\"\",\"element\":\"\",\"life\":\"{}\",\"since_ms\":0,\
             \"number\":7,\"previous\":\"{zero}\",\"at_ms\":12,\"path_set\":0,\"trails\":[{{\"path\":\"\",\
             \"digest\":\"{zero}\",\"elements\":[],\"position\":0,\"worker\":0,\"segment\":0,\"segments\":0,\
             \"origin\":\"{}\",\"begins\":0,\"began_ms\":0,\"from\":0,\"to\":0,\"late\":0,\"nodes\":[{{\
             \"level\":3,\"index\":2,\"packets\":9,\"roots\":[\"{ab}\"]}}],\"open\":[]}}],\"untold\":[],\"verdicts\":[]}}",
            "00".repeat(8),
            "00".repeat(8),
        );
        assert_eq!(String::from_utf8(statement.signed_bytes()).unwrap(), expected);
    }

    #[test]
    fn there_is_one_way_to_write_a_file() {
        let bytes = file().to_bytes();
        assert_eq!(SummaryFile::from_bytes(&bytes).unwrap().0, file());
        let text = String::from_utf8(bytes).unwrap();
        let others = [
            text.replace("\"number\":1,", "\"number\": 1,"),
            text.replace("\"silent\":[]", "\"silent\":[],\"more\":1"),
            text.replace("summary/1", "summary/2"),
            text.trim_end().to_owned(),
            format!("{text}\n"),
        ];
        for other in others {
            assert_ne!(other, text);
            assert!(SummaryFile::from_bytes(other.as_bytes()).is_err(), "{other}");
        }
        let long = vec![b' '; limits::SUMMARY_FILE_BYTES + 1];
        assert!(matches!(SummaryFile::from_bytes(&long), Err(Unread::TooLong)));
    }

    #[test]
    fn what_no_element_says_is_a_fault() {
        assert_eq!(trail().fault(), None);
        let faults: [fn(&mut Trail); 12] = [
            |trail| trail.elements.clear(),
            |trail| trail.position = 3,
            |trail| trail.begins = 3,
            |trail| trail.segments = 3,
            |trail| trail.segments = 0,
            |trail| trail.segment = 2,
            |trail| trail.from = 2,
            |trail| trail.to = 3,
            |trail| trail.nodes[0].packets = 3,
            |trail| trail.nodes[1].packets = 129,
            |trail| trail.nodes[0].roots.truncate(1),
            |trail| trail.open[0].index = 3,
        ];
        for (at, fault) in faults.into_iter().enumerate() {
            let mut trail = trail();
            fault(&mut trail);
            assert!(trail.fault().is_some(), "{at}");
        }
        for (level, index) in [(59, 0), (255, 0), (0, u64::MAX), (58, 1)] {
            let mut trail = trail();
            trail.nodes[1] = Node { level, index, ..trail.nodes[1].clone() };
            assert!(trail.fault().is_some(), "{level} {index}");
        }
    }
}
