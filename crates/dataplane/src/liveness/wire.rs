//! Questions and answers on a connection that carries bytes in order, big-endian:
//!
//! ```text
//!   question   number 4
//!   answer     number 4 ‖ count 2 ‖ count × path 4      paths along which the element cannot send, 1024 at most
//! ```

use ringmail_model::PathId;

/// Bytes of a question: its number.
pub const QUESTION_BYTES: usize = 4;

/// Paths that one answer names.
pub const ANSWER_PATHS: usize = 1024;

const HEAD_BYTES: usize = QUESTION_BYTES + 2;

/// The answer to a question; more paths than fit are left out.
pub fn answer(number: u32, closed: &[PathId]) -> Vec<u8> {
    let closed = &closed[..closed.len().min(ANSWER_PATHS)];
    let mut bytes = Vec::with_capacity(HEAD_BYTES + 4 * closed.len());
    bytes.extend(number.to_be_bytes());
    bytes.extend((closed.len() as u16).to_be_bytes());
    closed.iter().for_each(|path| bytes.extend(path.0.to_be_bytes()));
    bytes
}

/// What came is no answer: the other end's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it answers something else than it was asked")]
pub struct Malformed;

/// Bytes of answers as they come.
#[derive(Debug, Default)]
pub struct Answers(Vec<u8>);

impl Answers {
    /// Takes what came. Ask [`Answers::next`] until there is nothing before more is taken: so little gathers.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next whole answer: its number, and the paths.
    ///
    /// # Errors
    /// [`Malformed`]; the connection is of no use any more.
    #[expect(clippy::should_implement_trait, reason = "an iterator would not tell of errors")]
    pub fn next(&mut self) -> Result<Option<(u32, Vec<PathId>)>, Malformed> {
        let Some(head) = self.0.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let [a, b, c, d, e, f] = *head;
        let count = usize::from(u16::from_be_bytes([e, f]));
        if count > ANSWER_PATHS {
            return Err(Malformed);
        }
        let len = HEAD_BYTES + 4 * count;
        let Some(paths) = self.0.get(HEAD_BYTES..len) else { return Ok(None) };
        let path = |bytes: &[u8]| {
            bytes.iter().fold(PathId(0), |path, byte| PathId(path.0 << 8 | u32::from(*byte)))
        };
        let paths = paths.chunks_exact(4).map(path).collect();
        self.0.drain(..len);
        Ok(Some((u32::from_be_bytes([a, b, c, d]), paths)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_an_answer() {
        let bytes = answer(0x0102_0304, &[PathId(7), PathId(0x0a_0b0c)]);
        assert_eq!(bytes, [1, 2, 3, 4, 0, 2, 0, 0, 0, 7, 0, 0x0a, 0x0b, 0x0c]);
        assert_eq!(answer(9, &[]), [0, 0, 0, 9, 0, 0]);
    }

    #[test]
    fn answers_are_found_however_their_bytes_come() {
        let many: Vec<PathId> = (0..2000).map(PathId).collect();
        let bytes = [answer(1, &[]), answer(2, &many), answer(3, &[PathId(5)])].concat();
        for step in [1, 3, 7, 512, bytes.len()] {
            let (mut answers, mut found) = (Answers::default(), Vec::new());
            for chunk in bytes.chunks(step) {
                answers.push(chunk);
                while let Some(answer) = answers.next().expect("they are well") {
                    found.push(answer);
                }
            }
            let expected =
                [(1, Vec::new()), (2, many[..ANSWER_PATHS].to_vec()), (3, vec![PathId(5)])];
            assert_eq!(found, expected, "{step} bytes at a time");
        }
    }

    #[test]
    fn an_answer_of_too_many_paths_is_none() {
        let mut answers = Answers::default();
        answers.push(&[0, 0, 0, 1, 4, 1]);
        assert_eq!(answers.next(), Err(Malformed));
    }
}
