//! `ringmail prove`: what the ends of paths said last of the way that packets came (`docs/nsh.md`, "Proof of transit").

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::{PathProofs, ProofRecord};

/// Which proofs are to be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProveWish {
    /// The path's name, in one direction; all paths, without one.
    pub path: Option<String>,
    /// How many verdicts of each path, and how many of those that failed.
    pub last: u32,
}

/// What the ends of paths said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Proofs {
    /// By path.
    pub paths: Vec<PathProofs>,
    /// Elements that did not answer, and why: what they say is missing here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<Silent>,
}

/// An element that did not answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Silent {
    /// Its name.
    pub element: String,
    /// Why, for people.
    pub reason: String,
}

impl Proofs {
    /// What elements said, joined: each path is told once by each element at which it ends.
    ///
    /// # Errors
    /// Nothing is known of the path that was asked for.
    pub(crate) fn of(
        wish: &ProveWish,
        answers: impl IntoIterator<Item = (String, Result<Vec<PathProofs>, String>)>,
    ) -> Result<Proofs, String> {
        let mut proofs = Proofs::default();
        for (element, answer) in answers {
            match answer {
                Ok(paths) => proofs.paths.extend(paths),
                Err(reason) => proofs.silent.push(Silent { element, reason }),
            }
        }
        proofs.paths.sort_by(|one, other| one.path.cmp(&other.path));
        match &wish.path {
            Some(path) if proofs.paths.is_empty() && proofs.silent.is_empty() => Err(format!(
                "no path that ends here and proves its way is named `{path}`; the answers of a path have a path of their own"
            )),
            _ => Ok(proofs),
        }
    }

    /// Whether a packet failed, now or since the ends started; or an end did not answer.
    pub fn failed(&self) -> bool {
        let failed = |path: &PathProofs| {
            path.counts.iter().any(|count| !count.is_proved() && count.packets > 0)
                || path.last.iter().any(|record| !record.is_proved())
        };
        !self.silent.is_empty() || self.paths.iter().any(failed)
    }
}

impl Proofs {
    /// Forgets verdicts of before `time`, which is RFC 3339 with microseconds, UTC; whether one since then failed, or an end
    /// did not answer.
    pub fn failed_since(&mut self, time: &str) -> bool {
        for path in &mut self.paths {
            path.last.retain(|record| record.time.as_str() >= time);
        }
        let failed = |path: &PathProofs| path.last.iter().any(|record| !record.is_proved());
        !self.silent.is_empty() || self.paths.iter().any(failed)
    }
}

impl ProofRecord {
    /// Whether this packet came the way that it should.
    pub fn is_proved(&self) -> bool {
        self.verdict == "proved"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ProofCount;

    fn path(name: &str, wrong: u64) -> PathProofs {
        let count = |verdict: &str, packets| ProofCount {
            verdict: verdict.to_owned(),
            packets,
            ..ProofCount::default()
        };
        let counts = vec![count("proved", 5), count("wrong_tag", wrong)];
        PathProofs { path: name.to_owned(), counts, ..PathProofs::default() }
    }

    fn wish(path: Option<&str>) -> ProveWish {
        ProveWish { path: path.map(str::to_owned), last: 3 }
    }

    #[test]
    fn one_packet_that_is_not_proved_is_a_failure() {
        let of = |wrong| {
            let answers = [("egress".to_owned(), Ok(vec![path("b", 0), path("a", wrong)]))];
            Proofs::of(&wish(None), answers).expect("paths")
        };
        let proofs = of(0);
        let names: Vec<_> = proofs.paths.iter().map(|path| path.path.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(!proofs.failed());
        assert!(of(1).failed());
        // What an element noted before it was asked is enough, too.
        let mut noted = of(0);
        let verdict = "repeated".to_owned();
        noted.paths[1].last.push(ProofRecord { verdict, ..ProofRecord::default() });
        assert!(noted.failed());
    }

    #[test]
    fn what_failed_before_a_time_does_not_count_since_then() {
        let mut proofs = Proofs { paths: vec![path("a", 1)], ..Proofs::default() };
        let record = |time: &str, verdict: &str| ProofRecord {
            time: time.to_owned(),
            verdict: verdict.to_owned(),
            ..ProofRecord::default()
        };
        let (bad, good) = ("2026-11-22T08:00:00.000000Z", "2026-11-22T08:00:01.000000Z");
        proofs.paths[0].last = vec![record(bad, "wrong_tag"), record(good, "proved")];
        assert!(proofs.clone().failed_since(bad));
        assert!(!proofs.failed_since("2026-11-22T08:00:00.000001Z"));
        assert_eq!(proofs.paths[0].last, [record(good, "proved")]);
        let silent = vec![Silent::default()];
        assert!(Proofs { silent, ..Proofs::default() }.failed_since(good));
    }

    #[test]
    fn who_does_not_answer_proves_nothing() {
        let answers = || {
            [
                ("egress".to_owned(), Ok(vec![path("a", 0)])),
                ("gateway".to_owned(), Err("it hangs".to_owned())),
            ]
        };
        let proofs = Proofs::of(&wish(Some("a")), answers()).expect("a path");
        assert_eq!(proofs.silent[0].element, "gateway");
        assert!(proofs.failed());
        let nobody = Proofs::of(&wish(Some("x")), [("egress".to_owned(), Ok(Vec::new()))]);
        assert!(nobody.expect_err("there is none").contains("`x`"));
    }
}
