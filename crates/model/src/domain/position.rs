//! Where each part of a domain file stands in its text.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// A line and a column, both from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

/// The position of each part of a file, by its place: `paths[1].hops[0]`.
///
/// Of a scalar and of an entry of a list it is where the value begins, of a mapping or list under a key where the key
/// does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(BTreeMap<String, Position>);

impl Positions {
    /// The positions of a YAML text; none where it is no YAML.
    pub(super) fn of(text: &str) -> Positions {
        let mut positions = Positions::default();
        let options = super::parse::options();
        if let Ok(root) = serde_saphyr::from_str_with_options::<Spanned<Node>>(text, options) {
            positions.add(&mut String::new(), position(&root.referenced), &root.value);
        }
        positions
    }

    /// Where a part stands, or the nearest that holds it and has a position.
    pub fn at(&self, place: &str) -> Option<Position> {
        let mut place = place;
        loop {
            if let Some(position) = self.0.get(place) {
                return Some(*position);
            }
            if place.is_empty() {
                return None;
            }
            place = &place[..place.rfind(['.', '[']).unwrap_or(0)];
        }
    }

    fn add(&mut self, place: &mut String, at: Position, node: &Node) {
        self.0.insert(place.clone(), at);
        let len = place.len();
        match node {
            Node::Scalar => {}
            Node::Seq(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    place.push_str(&format!("[{index}]"));
                    self.add(place, position(&entry.referenced), &entry.value);
                    place.truncate(len);
                }
            }
            Node::Map(entries) => {
                for (key, value) in entries {
                    let dot = if place.is_empty() { "" } else { "." };
                    place.push_str(&format!("{dot}{}", key.value.0));
                    let at = match value.value {
                        Node::Scalar => position(&value.referenced),
                        _ => position(&key.referenced),
                    };
                    self.add(place, at, &value.value);
                    place.truncate(len);
                }
            }
        }
    }
}

fn position(location: &serde_saphyr::Location) -> Position {
    let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Position { line: small(location.line()), column: small(location.column()) }
}

/// The shape of a YAML text, without its values.
enum Node {
    Scalar,
    Seq(Vec<Spanned<Node>>),
    Map(Vec<(Spanned<Key>, Spanned<Node>)>),
}

/// A key of a mapping; what is no text is no key that the file has.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        String::deserialize(deserializer).map(Key)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        struct NodeVisitor;

        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_i128<E: de::Error>(self, _: i128) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_u128<E: de::Error>(self, _: u128) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_none<E: de::Error>(self) -> Result<Node, E> {
                Ok(Node::Scalar)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
                Node::deserialize(deserializer)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = seq.next_element()? {
                    entries.push(entry);
                }
                Ok(Node::Seq(entries))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Node::Map(entries))
            }
        }

        deserializer.deserialize_any(NodeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_where_they_begin() {
        let text = "a: 1\nb:\n  c: [x, y]\n  d:\n    - e: 2\n      f: ~\n";
        let positions = Positions::of(text);
        for (place, line, column) in [
            ("a", 1, 4),
            ("b", 2, 1),
            ("b.c", 3, 3),
            ("b.c[1]", 3, 10),
            ("b.d[0]", 5, 7),
            ("b.d[0].e", 5, 10),
            ("b.d[0].f", 6, 10),
            ("b.d[0].missing", 5, 7),
            ("b.c[7]", 3, 3),
        ] {
            assert_eq!(positions.at(place), Some(Position { line, column }), "{place}");
        }
    }

    #[test]
    fn what_is_no_yaml_has_no_positions() {
        assert_eq!(Positions::of("a: [").at("a"), None);
    }
}
