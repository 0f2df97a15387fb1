//! No program that is built without asking for it has switches for its defences (`ringmail_model::defence`).

/// What every program with switches holds: the end of `ringmail_model::defence::MARK`.
const MARK: &[u8] = b"weakened for `cargo xtask attack`";

#[test]
fn the_program_has_no_switches_for_its_defences() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_ringmail")).expect("the program");
    assert!(!program.windows(MARK.len()).any(|bytes| bytes == MARK), "it has the feature `weaken`");
    assert_eq!(ringmail_model::defence::CAN_BE_WEAKENED, cfg!(feature = "weaken"));
}
