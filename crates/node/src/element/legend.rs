//! What is written beside packets of captures: the path by its name, where on it the element stands, who began the packet,
//! what is known of its proof, and whose it is (`docs/nsh.md`, "Proof of transit").

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ringmail_dataplane::nsh::beginning::Beginning;
use ringmail_dataplane::nsh::journal::Finding;
use ringmail_dataplane::nsh::verify::Verdict;
use ringmail_model::pathset::{Path, PathSet};
use ringmail_model::{ElementId, PathId};

/// The names that one element needs to say what passes there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Legend {
    element: String,
    elements: BTreeMap<ElementId, String>,
    paths: BTreeMap<PathId, Place>,
}

/// Where the element stands on a path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    name: String,
    position: usize,
    /// The names of the elements from where the path begins to its end.
    way: Vec<ElementId>,
}

/// What is known of one packet besides its path.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known<'a> {
    /// What it claims.
    pub(super) beginning: Option<Beginning>,
    /// What the end of its path found.
    pub(super) finding: Option<Finding>,
    /// Whose it is.
    pub(super) identity: Option<&'a str>,
}

impl Legend {
    /// The names of these versions' paths, as an element sees them; a later version's count.
    pub(super) fn new<'a>(sets: impl IntoIterator<Item = &'a PathSet>, id: ElementId) -> Legend {
        let (mut elements, mut paths) = (BTreeMap::new(), BTreeMap::new());
        for set in sets {
            elements.extend(set.elements.iter().map(|known| (known.id, known.name.clone())));
            paths.extend(set.paths.iter().filter_map(|path| Some((path.id, Place::of(path, id)?))));
        }
        let element = elements.get(&id).cloned().unwrap_or_else(|| id.0.to_string());
        Legend { element, elements, paths }
    }

    /// Writes what is to be said of a packet of this path over what `text` held.
    pub(super) fn write(&self, text: &mut String, path: PathId, known: Known<'_>) {
        text.clear();
        // Writing to a string does not fail.
        let _ = self.say(text, path, known);
    }

    fn say(&self, text: &mut String, path: PathId, known: Known<'_>) -> std::fmt::Result {
        let Known { beginning, finding, identity } = known;
        let element = &self.element;
        let place = self.paths.get(&path);
        match place {
            Some(Place { name, position, way }) => {
                let last = way.len() - 1;
                write!(text, "path={name} element={element} position={position}/{last}")?;
            }
            None => write!(text, "path={} element={element}", path.0)?,
        }
        let found = finding.map(|Finding { origin, sequence, .. }| Beginning { origin, sequence });
        if let Some(beginning) = found.or(beginning) {
            let origin = self.elements.get(&beginning.element());
            match origin {
                Some(origin) => write!(text, " origin={origin}")?,
                None => write!(text, " origin={}", beginning.element().0)?,
            }
            write!(text, "/{} sequence={}", beginning.worker(), beginning.sequence)?;
        }
        match (finding, beginning, place) {
            (Some(finding), ..) => {
                write!(text, " proof={}", finding.verdict.name())?;
                if let (Verdict::Proved, 1.., Some(place)) = (finding.verdict, finding.from, place)
                    && let Some(from) = place.way.get(usize::from(finding.from))
                    && let Some(from) = self.elements.get(from)
                {
                    write!(text, " proved_from={from}")?;
                }
            }
            (None, None, Some(place)) if place.position == 0 => text.push_str(" proof=begins_here"),
            (None, None, _) => text.push_str(" proof=none"),
            (None, Some(_), Some(place)) if place.position + 1 == place.way.len() => {
                text.push_str(" proof=not_known");
            }
            (None, Some(_), _) => text.push_str(" proof=not_the_end"),
        }
        match identity {
            Some(identity) => write!(text, " identity={identity:?}"),
            None => Ok(()),
        }
    }
}

impl Place {
    fn of(path: &Path, id: ElementId) -> Option<Place> {
        let way: Vec<ElementId> = (0..).map_while(|position| path.element_at(position)).collect();
        let position = way.iter().position(|element| *element == id)?;
        Some(Place { name: path.name.clone(), position, way })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGINNING: Beginning = Beginning { origin: [0, 1, 0, 2, 9, 9, 9, 9], sequence: 17 };

    fn legend(position: usize) -> Legend {
        let names = [(1, "gateway"), (2, "sf1"), (3, "egress")];
        let elements = names.map(|(id, name)| (ElementId(id), name.to_owned()));
        let way = elements.iter().map(|(id, _)| *id).collect();
        let place = Place { name: "plain".into(), position, way };
        let element = names[position].1.to_owned();
        Legend { element, elements: elements.into(), paths: [(PathId(4), place)].into() }
    }

    fn said(position: usize, path: u32, known: Known<'_>) -> String {
        let mut text = "what was there before".to_owned();
        legend(position).write(&mut text, PathId(path), known);
        text
    }

    fn found(verdict: Verdict, from: u8) -> Known<'static> {
        let finding = Finding { verdict, origin: BEGINNING.origin, sequence: 17, from };
        Known { finding: Some(finding), ..Known::default() }
    }

    #[test]
    fn each_element_says_what_it_knows() {
        let came = Known { beginning: Some(BEGINNING), ..Known::default() };
        let at = |said: &str| format!("path=plain {said}");
        let begins = Known { identity: Some("CN=a \"b\""), ..Known::default() };
        let begun = "element=gateway position=0/2 proof=begins_here identity=\"CN=a \\\"b\\\"\"";
        assert_eq!(said(0, 4, begins), at(begun));
        let hop = "element=sf1 position=1/2 origin=gateway/2 sequence=17 proof=not_the_end";
        assert_eq!(said(1, 4, came), at(hop));
        let end = "element=egress position=2/2 origin=gateway/2 sequence=17 proof=";
        assert_eq!(said(2, 4, found(Verdict::Proved, 0)), at(&format!("{end}proved")));
        let from = format!("{end}proved proved_from=sf1");
        assert_eq!(said(2, 4, found(Verdict::Proved, 1)), at(&from));
        assert_eq!(said(2, 4, found(Verdict::WrongTag, 1)), at(&format!("{end}wrong_tag")));
        assert_eq!(said(2, 4, came), at(&format!("{end}not_known")));
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let none = "path=plain element=sf1 position=1/2 proof=none";
        assert_eq!(said(1, 4, Known::default()), none);
        let stranger = Beginning { origin: [0, 9, 0, 0, 0, 0, 0, 0], sequence: 1 };
        let known = Known { beginning: Some(stranger), ..Known::default() };
        let other = "path=5 element=sf1 origin=9/0 sequence=1 proof=not_the_end";
        assert_eq!(said(1, 5, known), other);
    }
}
