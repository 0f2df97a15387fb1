//! Flow records: one collector an observer, and times and sizes that make sense.

use super::Checker;
use crate::limits;

impl Checker<'_> {
    pub(super) fn flow_exports(&mut self) {
        let exports = &self.domain.flow_exports;
        for (index, export) in exports.iter().enumerate() {
            let at = |key: &str| format!("flow_exports[{index}].{key}");
            if exports[..index].iter().any(|other| other.from == export.from) {
                let message = "this observer has a collector already".to_owned();
                let mend = "delete one of the two; a collector can pass records on";
                self.error(&at("from"), "two-collectors", message, mend);
            }
            if export.collector.port() == 0 {
                let message = "nobody listens on port 0".to_owned();
                self.error(&at("collector"), "port-zero", message, "write the port, such as 4739");
            }
            let most = limits::FLOW_TIMEOUT_S;
            self.range(&at("idle_timeout_s"), export.idle_timeout_s, 1, most);
            self.range(&at("active_timeout_s"), export.active_timeout_s, 1, most);
            if export.active_timeout_s < export.idle_timeout_s {
                let message =
                    "a flow that goes on has its record before it could be idle".to_owned();
                let mend = "raise `active_timeout_s`, or lower `idle_timeout_s`";
                self.error(&at("active_timeout_s"), "never-idle", message, mend);
            }
            let (least, most) = (limits::FLOW_MESSAGE_MIN_BYTES, limits::FLOW_MESSAGE_MAX_BYTES);
            self.range(&at("message_bytes"), export.message_bytes, least, most);
        }
    }
}
