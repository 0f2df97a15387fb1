//! What functions report, as lines of the element's log: a few at a time, so that nobody fills a disk by matching rules.

use ringmail_dataplane::Function;

use crate::limits::ALERTS_A_TICK;

/// Takes the alerts that wait and writes them down.
pub(super) fn write(function: &mut dyn Function) {
    let mut alerts = Vec::new();
    function.drain_alerts(&mut |alert| alerts.push(alert));
    for alert in alerts.iter().take(ALERTS_A_TICK) {
        let rule = function.rule_name(alert.rule).unwrap_or("?");
        let flow = &alert.flow;
        tracing::warn!(
            rule,
            path = alert.path.0,
            protocol = flow.protocol,
            source = %flow.src,
            source_port = flow.src_port,
            destination = %flow.dst,
            port = flow.dst_port,
            "a packet matched a rule"
        );
    }
    if let Some(more) = alerts.len().checked_sub(ALERTS_A_TICK).filter(|more| *more > 0) {
        tracing::warn!(more, "more packets matched rules");
    }
}
