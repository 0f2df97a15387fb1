//! The label stack that a packet carries when it leaves an element (RFC 3032 section 2.1), laid out once a path.

use ringmail_model::Label;

use crate::limits::MAX_LABELS;

/// Bytes of one label stack entry.
pub const ENTRY_BYTES: usize = 4;

/// The bits of an entry that steer: label and bottom of stack, not traffic class nor TTL.
const STEERING: u32 = 0xffff_f100;

/// A label stack, outermost first, ready to be written or compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelStack {
    entries: [u32; MAX_LABELS],
    len: usize,
}

/// A stack of no label, or of more than [`MAX_LABELS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a label stack holds 1 to {MAX_LABELS} labels, not {0}")]
pub struct BadStack(pub usize);

impl LabelStack {
    /// No label at all: what a frame of NSH over Ethernet has.
    pub const NONE: LabelStack = LabelStack { entries: [0; MAX_LABELS], len: 0 };

    /// The stack of these labels, the last at the bottom.
    ///
    /// # Errors
    /// [`BadStack`] when there are none or too many.
    pub fn new(labels: &[Label]) -> Result<LabelStack, BadStack> {
        if labels.is_empty() || labels.len() > MAX_LABELS {
            return Err(BadStack(labels.len()));
        }
        let mut entries = [0; MAX_LABELS];
        for (entry, label) in entries.iter_mut().zip(labels) {
            *entry = label.get() << 12;
        }
        entries[labels.len() - 1] |= 1 << 8;
        Ok(LabelStack { entries, len: labels.len() })
    }

    /// Bytes on the wire.
    pub fn len_bytes(&self) -> usize {
        self.len * ENTRY_BYTES
    }

    /// Whether `bytes` begin with exactly this stack, whatever its traffic classes and TTLs.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        let Some(bytes) = bytes.get(..self.len_bytes()) else { return false };
        let mut differing = 0;
        for (entry, on_wire) in self.entries.iter().zip(bytes.chunks_exact(ENTRY_BYTES)) {
            let on_wire = u32::from_be_bytes([on_wire[0], on_wire[1], on_wire[2], on_wire[3]]);
            differing |= (entry ^ on_wire) & STEERING;
        }
        differing == 0
    }

    /// The entries, traffic class and TTL zero.
    pub(crate) fn steering(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries[..self.len].iter().copied()
    }

    /// Writes the stack with this TTL in every entry. `out` must hold [`LabelStack::len_bytes`]; what is beyond the
    /// shorter of the two is not written.
    pub fn write(&self, ttl: u8, out: &mut [u8]) {
        for (entry, out) in self.entries[..self.len].iter().zip(out.chunks_exact_mut(ENTRY_BYTES)) {
            out.copy_from_slice(&(entry | u32::from(ttl)).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(labels: &[u32]) -> LabelStack {
        let labels: Vec<_> = labels.iter().map(|l| Label::new(*l).unwrap()).collect();
        LabelStack::new(&labels).unwrap()
    }

    #[test]
    fn what_is_written_matches_whatever_ttl_and_class() {
        let two = stack(&[100, 200]);
        let mut bytes = [0; 8];
        two.write(64, &mut bytes);
        assert_eq!(bytes, [0x00, 0x06, 0x40, 64, 0x00, 0x0c, 0x81, 64]);
        bytes[3] = 1;
        bytes[6] |= 0x0e;
        assert!(two.matches(&bytes));
    }

    #[test]
    fn another_label_a_longer_or_a_shorter_stack_does_not_match() {
        let two = stack(&[100, 200]);
        let mut bytes = [0; 12];
        stack(&[100, 201]).write(64, &mut bytes);
        assert!(!two.matches(&bytes));
        stack(&[100, 200, 300]).write(64, &mut bytes);
        assert!(!two.matches(&bytes));
        stack(&[100]).write(64, &mut bytes);
        assert!(!two.matches(&bytes));
        assert!(!two.matches(&bytes[..7]));
    }

    #[test]
    fn empty_and_oversized_stacks_are_refused() {
        assert_eq!(LabelStack::new(&[]), Err(BadStack(0)));
        assert_eq!(LabelStack::new(&[Label::MIN; MAX_LABELS + 1]), Err(BadStack(MAX_LABELS + 1)));
    }
}
