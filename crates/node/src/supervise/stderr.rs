//! The standard error of elements: passed on line by line under the element's name, and its end kept.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::{STDERR_LINE_BYTES, STDERR_TAIL_LINES};

/// Where the lines of elements go.
#[derive(Clone)]
pub struct LineSink(Arc<Take>);

type Take = dyn Fn(&str, &str) + Send + Sync;

impl LineSink {
    /// A function of the element's name and the line.
    pub fn new(sink: impl Fn(&str, &str) + Send + Sync + 'static) -> LineSink {
        LineSink(Arc::new(sink))
    }

    /// This process's standard error, as a JSON object a line: an element's own with its name put in, or around a line
    /// that is none, such as a panic's.
    pub fn json() -> LineSink {
        LineSink::new(|name, line| {
            let line = json_line(name, line) + "\n";
            drop(std::io::stderr().lock().write_all(line.as_bytes()));
        })
    }
}

impl Default for LineSink {
    /// This process's standard error, as `[NAME] LINE`.
    fn default() -> LineSink {
        LineSink::new(|name, line| {
            // One write a line, so that lines of several elements do not mix. If standard error is gone, so be it.
            let line = format!("[{name}] {line}\n");
            drop(std::io::stderr().lock().write_all(line.as_bytes()));
        })
    }
}

impl fmt::Debug for LineSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LineSink")
    }
}

fn json_line(name: &str, line: &str) -> String {
    let mut object = match serde_json::from_str(line) {
        Ok(Value::Object(object)) => object,
        _ => Map::from_iter([("message".to_owned(), line.into())]),
    };
    object.insert("element".to_owned(), name.into());
    Value::Object(object).to_string()
}

/// The last lines of an element so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == STDERR_TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Passes lines on until the stream ends, and keeps the last ones.
pub(super) async fn pass_on(
    mut stream: impl AsyncRead + Unpin,
    name: String,
    sink: LineSink,
    tail: Tail,
) {
    let mut buffer = BytesMut::new();
    loop {
        let more = stream.read_buf(&mut buffer).await.unwrap_or(0) > 0;
        while let Some(line) = next_line(&mut buffer, more) {
            sink.0(&name, &line);
            tail.push(line);
        }
        if !more {
            return;
        }
    }
}

/// A whole line; a piece of one that is too long; or what is left at the end.
fn next_line(buffer: &mut BytesMut, more: bool) -> Option<String> {
    let newline = buffer.iter().take(STDERR_LINE_BYTES).position(|byte| *byte == b'\n');
    let (line, skip) = match newline {
        Some(end) => (end, 1),
        None if buffer.len() >= STDERR_LINE_BYTES => (STDERR_LINE_BYTES, 0),
        None if !more && !buffer.is_empty() => (buffer.len(), 0),
        None => return None,
    };
    let bytes = buffer.split_to(line + skip);
    Some(String::from_utf8_lossy(&bytes[..line]).trim_end_matches('\r').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(bytes: &[u8]) -> (Vec<String>, Vec<String>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = LineSink::new({
            let seen = Arc::clone(&seen);
            move |name, line| seen.lock().unwrap().push(format!("{name}: {line}"))
        });
        let tail = Tail::default();
        pass_on(bytes, "hop1".into(), sink, tail.clone()).await;
        let seen = seen.lock().unwrap().clone();
        (seen, tail.lines())
    }

    #[tokio::test]
    async fn lines_are_passed_on_with_the_name_in_front() {
        let (seen, tail) = lines(b"one\r\ntwo\n\nlast").await;
        assert_eq!(seen, ["hop1: one", "hop1: two", "hop1: ", "hop1: last"]);
        assert_eq!(tail, ["one", "two", "", "last"]);
    }

    #[test]
    fn every_line_becomes_an_object_with_the_name() {
        let own = json_line("hop1", r#"{"level":"WARN","message":"x \"y\""}"#);
        assert_eq!(own, r#"{"element":"hop1","level":"WARN","message":"x \"y\""}"#);
        let other = json_line("hop1", "thread 'main' panicked: \"no\"");
        assert_eq!(other, r#"{"element":"hop1","message":"thread 'main' panicked: \"no\""}"#);
    }

    #[tokio::test]
    async fn only_so_many_lines_are_kept_and_long_ones_are_cut() {
        let many = "x\n".repeat(3 * STDERR_TAIL_LINES);
        assert_eq!(lines(many.as_bytes()).await.1.len(), STDERR_TAIL_LINES);
        let (seen, _) = lines(&vec![b'y'; 2 * STDERR_LINE_BYTES + 1]).await;
        assert_eq!(seen.len(), 3);
    }
}
