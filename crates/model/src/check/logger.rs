//! Loggers: sizes that can be kept, and plaintext that leaves the chain.

use super::Checker;
use crate::domain::{AddressEntry, Function, LoggerSettings, PortEntry};
use crate::limits;

impl Checker<'_> {
    pub(super) fn logger(&mut self, at: &str, function: &Function, logger: &LoggerSettings) {
        let at = format!("{at}.logger");
        let name = &function.name;
        if !logger.directory.is_absolute() {
            let message = format!("`{}` is no absolute path", logger.directory.display());
            let mend = "write the whole path, such as /var/log/ringmail/NAME";
            self.error(&format!("{at}.directory"), "relative-path", message, mend);
        }
        self.range(&format!("{at}.snap_len"), logger.snap_len, 64, 65_535);
        let most = limits::LOG_FILE_BYTES_MAX;
        self.range(&format!("{at}.rotate.bytes"), logger.rotate.bytes, 1 << 20, most);
        self.range(&format!("{at}.rotate.seconds"), logger.rotate.seconds, 1, 31 * 86_400);
        self.range(&format!("{at}.keep.files"), logger.keep.files, 1, limits::LOG_FILES_MAX);
        if logger.keep.bytes < logger.rotate.bytes {
            let message = format!(
                "{} bytes are less than one file of {}",
                logger.keep.bytes, logger.rotate.bytes
            );
            let mend = "raise `keep.bytes`, or lower `rotate.bytes`";
            self.error(&format!("{at}.keep"), "keeps-nothing", message, mend);
        }
        match (function.intrusive, logger.danger_plaintext) {
            (true, false) => {
                let message = format!("`{name}` is intrusive: plaintext would lie in its files");
                let mend = "write `danger_plaintext: true` if that is meant, or `intrusive: false`";
                self.error(&at, "plaintext-in-files", message, mend);
            }
            (true, true) => {
                let message = format!("plaintext of the chain lies in the files of `{name}`");
                let mend = "keep the folder where nobody else can read it, and `keep` small";
                let at = format!("{at}.danger_plaintext");
                self.warning(&at, "plaintext-in-files", message, mend);
            }
            (false, true) => {
                let message = format!("`{name}` is not intrusive and sees no plaintext");
                let at = format!("{at}.danger_plaintext");
                self.error(&at, "danger-without-need", message, "delete it");
            }
            (false, false) => {}
        }
        for (n, selector) in logger.only.iter().enumerate() {
            let at = format!("{at}.only[{n}]");
            let hidden = !selector.ports.is_empty() || !selector.protocols.is_empty();
            if hidden && !function.intrusive {
                let message =
                    format!("`{name}` is not intrusive and sees addresses of elements only");
                let mend = format!("write `intrusive: true` for `{name}`, or delete the condition");
                self.error(&at, "ports-without-plaintext", message, mend);
            }
            let set = selector.addresses.iter().any(|e| matches!(e, AddressEntry::Set(_)))
                || selector.ports.iter().any(|e| matches!(e, PortEntry::Set(_)));
            if set {
                let message = "a logger has no sets".to_owned();
                self.error(&at, "set-of-logger", message, "write addresses and ports themselves");
            }
            if *selector == Default::default() {
                let message = "an entry without conditions means every flow".to_owned();
                self.error(&at, "empty-condition", message, "add a condition, or delete `only`");
            }
        }
    }
}
