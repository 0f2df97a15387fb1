//! Samples as text: OpenMetrics 1.0, or the older text format of Prometheus for whoever does not ask for it.

use std::fmt::Write;

use super::metrics::Sample;

/// How samples are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
}

impl Format {
    /// What a client gets that accepts this.
    pub fn accepted(accept: Option<&str>) -> Format {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Format::OpenMetrics,
            _ => Format::Prometheus,
        }
    }

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The samples as text. Those of one family have to stand together.
pub fn render(samples: &[Sample], format: Format) -> String {
    let mut out = String::with_capacity(samples.len() * 96);
    let mut family = "";
    for sample in samples {
        if sample.family.name != family {
            family = &sample.family.name;
            head(&mut out, sample, format);
        }
        out.push_str(family);
        out.push_str(sample.suffix);
        for (nth, (name, value)) in sample.labels.iter().enumerate() {
            out.push(if nth == 0 { '{' } else { ',' });
            out.push_str(name);
            out.push_str("=\"");
            escape(&mut out, value);
            out.push('"');
        }
        if !sample.labels.is_empty() {
            out.push('}');
        }
        // To a string this cannot fail.
        let _ = writeln!(out, " {}", sample.value);
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn head(out: &mut String, sample: &Sample, format: Format) {
    let family = &sample.family;
    let kind = match (family.histogram, family.gauge) {
        (true, _) => "histogram",
        (false, true) => "gauge",
        (false, false) => "counter",
    };
    let name = match format {
        Format::OpenMetrics => family.name.trim_end_matches("_total"),
        Format::Prometheus => &family.name,
    };
    let _ = writeln!(out, "# TYPE {name} {kind}");
    // A unit may be named only where it ends the name (OpenMetrics 1.0, "Unit").
    let ends = !family.unit.is_empty() && name.ends_with(&format!("_{}", family.unit));
    if format == Format::OpenMetrics && ends {
        let _ = writeln!(out, "# UNIT {name} {}", family.unit);
    }
    let _ = write!(out, "# HELP {name} ");
    match format {
        Format::OpenMetrics => escape(out, &family.help),
        Format::Prometheus => out.push_str(&family.help.replace('\\', "\\\\").replace('\n', "\\n")),
    }
    out.push('\n');
}

fn escape(out: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::Family;
    use super::*;

    #[test]
    fn a_family_has_one_head_and_every_text_is_escaped() {
        let labels = vec!["rule".to_owned()];
        let family = Family::new("x", "packets", false, "Says \"no\".", labels);
        let sample = |rule: &str, value| Sample {
            family: family.clone(),
            suffix: "",
            labels: vec![("rule".to_owned(), rule.to_owned())],
            value,
        };
        let samples = [sample("a\"\\\n", 3.0), sample("b", 0.5)];
        assert_eq!(
            render(&samples, Format::OpenMetrics),
            "# TYPE ringmail_x_packets counter\n# UNIT ringmail_x_packets packets\n\
             # HELP ringmail_x_packets Says \\\"no\\\".\n\
             ringmail_x_packets_total{rule=\"a\\\"\\\\\\n\"} 3\n\
             ringmail_x_packets_total{rule=\"b\"} 0.5\n# EOF\n"
        );
        assert_eq!(
            render(&samples[1..], Format::Prometheus),
            "# TYPE ringmail_x_packets_total counter\n\
             # HELP ringmail_x_packets_total Says \"no\".\n\
             ringmail_x_packets_total{rule=\"b\"} 0.5\n"
        );
    }
}
