//! What follows from verdicts: states, deadlines, revocation, and the log of all of it.
