//! Standard output is data: text for people, or one JSON object that names its schema as `ringmail.NAME/VERSION`.

use std::io::{self, Write};

use clap::ValueEnum;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use crate::error::Failure;

/// How data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people; may change between releases
    Text,
    /// For programs; one object, whose `schema` names its JSON Schema
    Json,
}

/// What a verb has to say. Its fields are the JSON object, [`Report::text`] is the same for people.
pub(crate) trait Report: Serialize + JsonSchema {
    /// The NAME of the schema `ringmail.NAME/VERSION`.
    const NAME: &'static str;
    /// Grows when a field changes its meaning or goes away; a new field does not count.
    const VERSION: u32 = 1;

    /// Writes the report for people, with a newline at the end.
    fn text(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// Standard output in the format that the user asked for.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
}

#[derive(Serialize)]
struct Envelope<'a, R> {
    schema: String,
    #[serde(flatten)]
    report: &'a R,
}

impl Output {
    pub(crate) fn new(format: Format) -> Output {
        Output { format }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Writes one report. A reader that went away (`| head`) is no failure.
    pub(crate) fn emit<R: Report>(&mut self, report: &R) -> Result<(), Failure> {
        debug_assert!(
            crate::commands::schemas().iter().any(|known| known.id == id::<R>()),
            "{} is missing from commands::schemas()",
            id::<R>()
        );
        let mut out = io::stdout().lock();
        let written = match self.format {
            Format::Text => report.text(&mut out),
            Format::Json => json(report, &mut out),
        }
        .and_then(|()| out.flush());
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::from(error).context("standard output cannot be written"))
            }
            _ => Ok(()),
        }
    }
}

fn json<R: Report>(report: &R, out: &mut dyn Write) -> io::Result<()> {
    let envelope = Envelope { schema: id::<R>(), report };
    serde_json::to_writer_pretty(&mut *out, &envelope).map_err(io::Error::from)?;
    writeln!(out)
}

fn id<R: Report>() -> String {
    format!("ringmail.{}/{}", R::NAME, R::VERSION)
}

/// The JSON Schema of one kind of report.
#[derive(Debug)]
pub(crate) struct ReportSchema {
    /// `ringmail.NAME/VERSION`, as the `schema` field says.
    pub(crate) id: String,
    /// Made on demand: it takes a while.
    #[cfg_attr(not(test), expect(dead_code, reason = "the test that holds docs/schema reads it"))]
    pub(crate) schema: fn() -> Schema,
}

impl ReportSchema {
    pub(crate) fn of<R: Report>() -> ReportSchema {
        ReportSchema { id: id::<R>(), schema: schema_of::<R> }
    }
}

fn schema_of<R: Report>() -> Schema {
    let mut schema = SchemaGenerator::default().into_root_schema_for::<R>();
    schema.insert("$id".into(), id::<R>().into());
    schema.insert("title".into(), id::<R>().into());
    if let Some(properties) = schema.get_mut("properties").and_then(|found| found.as_object_mut()) {
        properties.insert("schema".into(), serde_json::json!({ "const": id::<R>() }));
    }
    if let Some(required) = schema.get_mut("required").and_then(|found| found.as_array_mut()) {
        required.insert(0, "schema".into());
    }
    schema
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// docs/schema holds the schema of every report; RINGMAIL_UPDATE=1 writes what changed.
    #[test]
    fn every_report_has_its_schema_in_docs() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema");
        for known in crate::commands::schemas() {
            let path = folder.join(format!("{}.json", known.id.replace('/', ".")));
            let made = serde_json::to_string_pretty(&(known.schema)()).unwrap() + "\n";
            if std::env::var_os("RINGMAIL_UPDATE").is_some() {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&path, &made).unwrap();
            }
            let kept = fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(kept, made, "{} is stale: run with RINGMAIL_UPDATE=1", path.display());
        }
    }
}
