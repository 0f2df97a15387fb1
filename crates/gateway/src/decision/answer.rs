//! What a decision point said: `{"result": true}`, or `{"result": {"allow": true, "reason": "…"}}`.
//!
//! OPA leaves `result` out where its policy has nothing to say: a no, as is everything that is not plainly a yes.

use std::sync::Arc;

use serde_json::Value;

use super::wire::Unanswered;
use crate::limits::DECISION_REASON_BYTES;

/// What counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It may go.
    Yes,
    /// It may not, for this reason if one was given.
    No(Option<Arc<str>>),
    /// There is no answer, and it may not go without one.
    Unknown,
}

impl Answer {
    /// Reads the body of an answer with status 200.
    pub(super) fn read(body: &[u8]) -> Result<Answer, Unanswered> {
        let said: Value = serde_json::from_slice(body).map_err(|_| Unanswered::Nonsense)?;
        let Value::Object(said) = said else { return Err(Unanswered::Nonsense) };
        let (allow, reason) = match said.get("result") {
            Some(Value::Object(result)) => (result.get("allow"), result.get("reason")),
            other => (other, None),
        };
        if allow == Some(&Value::Bool(true)) {
            return Ok(Answer::Yes);
        }
        Ok(Answer::No(reason.and_then(Value::as_str).map(shorten)))
    }
}

/// A reason of bounded length on one line.
fn shorten(reason: &str) -> Arc<str> {
    let mut end = reason.len().min(DECISION_REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].replace(char::is_control, " ").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_yes_is_one() {
        for yes in [r#"{"result": true}"#, r#"{"result": {"allow": true}, "decision_id": "x"}"#] {
            assert_eq!(Answer::read(yes.as_bytes()).expect(yes), Answer::Yes);
        }
        for no in [
            "{}",
            r#"{"result": false}"#,
            r#"{"result": null}"#,
            r#"{"result": 1}"#,
            r#"{"result": "true"}"#,
            r#"{"result": [true]}"#,
            r#"{"result": {}}"#,
            r#"{"result": {"allow": "true"}}"#,
            r#"{"result": {"result": true}}"#,
            r#"{"allow": true}"#,
            r#"{"result": true, "result": false}"#,
        ] {
            assert_eq!(Answer::read(no.as_bytes()).expect(no), Answer::No(None), "{no}");
        }
        for nonsense in ["", "true", "[]", "{\"result\": tru", "\u{0}"] {
            assert!(Answer::read(nonsense.as_bytes()).is_err(), "{nonsense}");
        }
        let deep = format!("{{\"result\": {}", "[".repeat(100_000));
        assert!(Answer::read(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_reason_is_short_and_stays_on_its_line() {
        let said = |reason: &str| {
            let body = serde_json::json!({"result": {"allow": false, "reason": reason}});
            match Answer::read(body.to_string().as_bytes()) {
                Ok(Answer::No(Some(reason))) => reason.to_string(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(said("not on\nSundays"), "not on Sundays");
        assert_eq!(said(&"é".repeat(1_000)).len(), DECISION_REASON_BYTES / 2 * 2);
    }
}
