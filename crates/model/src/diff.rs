//! What differs between two domain files by meaning: parts are found by their names, so that layout, comments and the order
//! of named parts do not count; the order of rules does, since the first that matches decides.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::domain::{Domain, Position, Positions};

/// A domain and where its parts stand in its file.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// What the file says.
    pub domain: &'a Domain,
    /// Where it says it.
    pub positions: &'a Positions,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Difference {
    /// What became of it.
    pub kind: Kind,
    /// What it is: `client`, `service`, `function`, `path`, `return path`, `rule`, `decision point`, `listener`, or the name of a part of the
    /// file that there is once, such as `limits`.
    pub what: String,
    /// Its name, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What of it changed; empty unless [`Kind::Changed`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Field>,
    /// Where it stands in the first file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Place>,
    /// Where it stands in the second file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Place>,
}

/// What became of a part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Only the second file has it.
    Added,
    /// Only the first file has it.
    Removed,
    /// Both have it, and it says something else.
    Changed,
    /// A rule that says the same, but is asked before or after others than it was.
    Moved,
}

/// A value that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Field {
    /// Which, such as `when.clients`.
    pub field: String,
    /// As it was; left out where it was not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// As it is; left out where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Place {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
}

/// Lists of the file whose entries have names, and what an entry is.
const NAMED: [(&str, &str); 8] = [
    ("gateway.listeners", "listener"),
    ("clients", "client"),
    ("services", "service"),
    ("functions", "function"),
    ("paths", "path"),
    ("return_paths", "return path"),
    ("rules", "rule"),
    ("decision_points", "decision point"),
];

/// All differences, in the order of the parts in the format, then by name.
pub fn diff(before: Side<'_>, after: Side<'_>) -> Vec<Difference> {
    let (was, is) = (value(before.domain), value(after.domain));
    let mut found = Vec::new();
    let Value::Object(whole) = &is else { return found };
    for part in whole.keys().chain(was.as_object().into_iter().flat_map(|was| was.keys())) {
        if NAMED.iter().any(|(list, _)| list == part)
            || found.iter().any(|d: &Difference| d.what == *part)
        {
            continue;
        }
        let mut fields = Vec::new();
        compare("", was.get(part), is.get(part), &mut fields);
        fields.retain(|field| !NAMED.iter().any(|(list, _)| is_below(part, &field.field, list)));
        if !fields.is_empty() {
            found.push(Difference {
                kind: Kind::Changed,
                what: part.clone(),
                name: None,
                fields,
                before: place(before, part),
                after: place(after, part),
            });
        }
    }
    for (list, what) in NAMED {
        entries(before, after, &was, &is, list, what, &mut found);
    }
    found
}

/// Whether a field of a part is a list of named entries, or stands in one: they are compared apart.
fn is_below(part: &str, field: &str, list: &str) -> bool {
    let whole = format!("{part}.{field}");
    whole == list || whole.starts_with(&format!("{list}."))
}

fn entries(
    before: Side<'_>,
    after: Side<'_>,
    was: &Value,
    is: &Value,
    list: &str,
    what: &str,
    found: &mut Vec<Difference>,
) {
    let (old, new) = (named(was, list), named(is, list));
    let known: Vec<&str> = order(&old, &new);
    let wanted: Vec<&str> = order(&new, &old);
    let mut all: BTreeMap<&str, ()> = BTreeMap::new();
    all.extend(old.keys().chain(new.keys()).map(|name| (name.as_str(), ())));
    for name in all.into_keys() {
        let (one, other) = (old.get(name), new.get(name));
        let mut fields = Vec::new();
        let kind = match (one, other) {
            (None, _) => Kind::Added,
            (_, None) => Kind::Removed,
            (Some((_, one)), Some((_, other))) => {
                compare("", Some(one), Some(other), &mut fields);
                let at = |order: &[&str]| order.iter().position(|known| *known == name);
                match fields.is_empty() {
                    false => Kind::Changed,
                    true if what == "rule" && at(&known) != at(&wanted) => Kind::Moved,
                    true => continue,
                }
            }
        };
        let at = |side, entry: Option<&(usize, Value)>| {
            entry.and_then(|(index, _)| place(side, &format!("{list}[{index}]")))
        };
        found.push(Difference {
            kind,
            what: what.to_owned(),
            name: Some(name.to_owned()),
            fields,
            before: at(before, one),
            after: at(after, other),
        });
    }
}

/// The names of entries that both have, in the order of the first.
fn order<'a>(
    one: &'a BTreeMap<String, (usize, Value)>,
    other: &BTreeMap<String, (usize, Value)>,
) -> Vec<&'a str> {
    let both = one.iter().filter(|(name, _)| other.contains_key(*name));
    let mut both: Vec<_> = both.map(|(name, (index, _))| (*index, name.as_str())).collect();
    both.sort_unstable();
    both.into_iter().map(|(_, name)| name).collect()
}

/// The entries of a list by name, each with its place in the list.
fn named(domain: &Value, list: &str) -> BTreeMap<String, (usize, Value)> {
    let entries = list.split('.').try_fold(domain, |value, key| value.get(key));
    let entries = entries.and_then(Value::as_array).into_iter().flatten().enumerate();
    entries
        .filter_map(|(index, entry)| {
            let name = entry.get("name")?.as_str()?.to_owned();
            Some((name, (index, entry.clone())))
        })
        .collect()
}

/// The values that differ below `field`. Lists of entries with names are compared by name, others as a whole.
fn compare(field: &str, was: Option<&Value>, is: Option<&Value>, found: &mut Vec<Field>) {
    if was == is {
        return;
    }
    let below = |key: &str| match field {
        "" => key.to_owned(),
        field => format!("{field}.{key}"),
    };
    match (was, is) {
        (Some(Value::Object(was)), Some(Value::Object(is))) => {
            for key in was.keys().chain(is.keys().filter(|key| !was.contains_key(*key))) {
                compare(&below(key), was.get(key), is.get(key), found);
            }
        }
        (Some(Value::Array(was)), Some(Value::Array(is))) if has_names(was) && has_names(is) => {
            let find = |all: &[Value], name: &str| {
                all.iter()
                    .find(|entry| entry.get("name").and_then(Value::as_str) == Some(name))
                    .cloned()
            };
            let names = |all: &[Value]| -> Vec<String> {
                all.iter()
                    .filter_map(|entry| Some(entry.get("name")?.as_str()?.to_owned()))
                    .collect()
            };
            let (old, new) = (names(was), names(is));
            for name in old.iter().chain(new.iter().filter(|name| !old.contains(name))) {
                compare(&below(name), find(was, name).as_ref(), find(is, name).as_ref(), found);
            }
        }
        _ => {
            found.push(Field { field: field.to_owned(), before: was.cloned(), after: is.cloned() });
        }
    }
}

fn has_names(entries: &[Value]) -> bool {
    !entries.is_empty()
        && entries.iter().all(|entry| entry.get("name").is_some_and(Value::is_string))
}

fn place(side: Side<'_>, part: &str) -> Option<Place> {
    let Position { line, column } = side.positions.at(part)?;
    Some(Place { line, column })
}

fn value(domain: &Domain) -> Value {
    // A domain is plain data: nothing in it has no JSON.
    serde_json::to_value(domain).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::parse_with_positions;

    const BEFORE: &str = include_str!("../../../examples/campus.yaml");

    fn differences(old: &[&str], new: &[&str]) -> Vec<Difference> {
        let mut text = BEFORE.to_owned();
        for (old, new) in old.iter().zip(new) {
            assert!(text.contains(old), "{old}");
            text = text.replacen(old, new, 1);
        }
        let read = |text| parse_with_positions(text, "file").expect("it parses");
        let ((one, at), (other, there)) = (read(BEFORE), read(&text));
        diff(Side { domain: &one, positions: &at }, Side { domain: &other, positions: &there })
    }

    fn text(difference: &Difference) -> String {
        let Difference { kind, what, name, fields, .. } = difference;
        let fields: Vec<_> = fields.iter().map(|field| field.field.as_str()).collect();
        format!("{kind:?} {what} {} {}", name.as_deref().unwrap_or(""), fields.join(","))
    }

    #[test]
    fn comments_and_layout_and_the_order_of_named_parts_do_not_count() {
        let one = "  - name: client1\n    address: 192.0.2.11\n";
        let two = "  - name: client2\n    address: 192.0.2.12\n";
        let both = format!("{one}{two}");
        let swapped = format!("{two}  # a word\n{one}");
        assert_eq!(differences(&[&both], &[&swapped]), []);
    }

    #[test]
    fn each_difference_has_its_kind_its_fields_and_its_places() {
        let found = differences(
            &[
                "hops: [sf1]\n",
                "bytes: test\n",
                "mtu: 1500",
                "  - name: client2\n    address: 192.0.2.12\n",
            ],
            &["hops: [sf2]\n", "bytes: best\n", "mtu: 1400", "  - name: client4\n"],
        );
        let texts: Vec<_> = found.iter().map(text).collect();
        assert_eq!(
            texts,
            [
                "Changed links  mtu",
                "Removed client client2 ",
                "Added client client4 ",
                "Changed function sf2 dpi.rules.forbidden.bytes",
                "Changed path plain hops",
            ]
        );
        let function = &found[3];
        assert_eq!(function.fields[0].before, Some("test".into()));
        assert_eq!(function.fields[0].after, Some("best".into()));
        let line = |text: &str| BEFORE.lines().position(|l| l.contains(text)).expect("a line") + 1;
        assert_eq!(function.before.map(|place| place.line as usize), Some(line("name: sf2")));
        assert_eq!(function.after.map(|place| place.line as usize), Some(line("name: sf2") - 1));
        assert_eq!(found[2].before, None);
    }

    #[test]
    fn rules_that_swap_places_have_moved() {
        let one = "  - name: client1-plain\n    when: {clients: [client1]}\n    path: plain\n";
        let two =
            "  - name: client2-inspected\n    when: {clients: [client2]}\n    path: inspected";
        let found =
            differences(&[&format!("{one}{two}")], &[&format!("{two}\n{}", one.trim_end())]);
        let texts: Vec<_> = found.iter().map(text).collect();
        assert_eq!(texts, ["Moved rule client1-plain ", "Moved rule client2-inspected "]);
    }
}
