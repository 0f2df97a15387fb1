//! `ringmail ca …`: the embedded certification authority of a domain.

mod backup;
mod rotate;

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringmail_model::{Name, TrustDomain};
use ringmail_trust::{
    Authority, AuthorityError, EmbeddedCa, Issued, Kind, Record, Request, Serial, SubjectName, pem,
};
use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::context::Context;
use crate::error::{Failure, OrFail, Outcome};
use crate::output::Report;
use crate::password;

pub(crate) use self::backup::Kept;
pub(crate) use self::rotate::Rotating;

const SECONDS_A_DAY: u64 = 86_400;

/// Run the domain's own certification authority
///
/// It vouches for gateways, clients and elements until a trust plane does. Its directory holds private keys: keep it
/// where nobody else can read it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The authority's directory
    #[arg(long, global = true, value_name = "DIR", default_value = "ringmail-ca")]
    dir: PathBuf,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a new authority: a root certificate, a path-signing key, an empty revocation list
    Init {
        /// The trust domain of all SPIFFE ids, e.g. campus.example
        #[arg(long, value_name = "DOMAIN")]
        domain: TrustDomain,
    },
    /// Issue a server's certificate with a new key, for a gateway that clients connect to
    Server(Issue),
    /// Issue a client's certificate with a new key; its SPIFFE id is spiffe://DOMAIN/client/NAME
    Client(ForClient),
    /// Sign an element's request; the key stays where it was made
    Element {
        /// The element's name; its SPIFFE id becomes spiffe://DOMAIN/element/NAME
        name: Name,
        /// The certificate signing request (PEM or DER); - for standard input
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
    },
    /// Make a token that an element enrols with, once; keep it as secret as a key until it is used
    Token {
        /// The element's name
        name: Name,
        /// How many minutes it may be used
        #[arg(long, value_name = "MINUTES", default_value_t = 60)]
        minutes: u64,
    },
    /// List the certificates that were issued
    List,
    /// Show the certificates that a name or serial number means
    Show {
        /// A serial number, KIND/NAME, or a NAME that only one kind has
        which: String,
    },
    /// Revoke the certificates that a name or serial number means, and make a new revocation list
    Revoke {
        /// A serial number, KIND/NAME, or a NAME that only one kind has
        which: String,
    },
    /// Write the revocation list in PEM; it is made anew when it runs out soon
    Crl {
        /// Make it anew now
        #[arg(long)]
        renew: bool,
    },
    /// Write the whole authority into one encrypted file, and read it again
    Backup(backup::Args),
    /// Make the authority of a backup in the directory, which is not there yet
    Restore(backup::Args),
    /// Put a new root in the place of the old, with both believed in between
    #[command(subcommand)]
    Rotate(rotate::Verb),
}

#[derive(Debug, clap::Args)]
struct Issue {
    /// The name that certificate and key are filed under
    name: Name,
    /// A DNS name, IP address or mailbox, as NAME, dns:NAME, ip:ADDRESS or email:ADDRESS; can be repeated
    #[arg(long = "san", value_name = "NAME")]
    names: Vec<SubjectName>,
    /// How many days the certificate holds
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    days: u64,
    /// Replace a key that is there; its certificate stays valid until revoked
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Args)]
struct ForClient {
    #[command(flatten)]
    issue: Issue,
    /// Put certificate and key into one file for browsers as well (PKCS #12, under a password); NAME.p12 beside the key
    /// unless FILE is named
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    p12: Option<Option<PathBuf>>,
    #[command(flatten)]
    password: password::From,
}

/// What an authority has, or has just done.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Ca {
    /// The authority's directory.
    dir: PathBuf,
    /// The trust domain of its SPIFFE ids.
    trust_domain: String,
    /// The certificates in question.
    certificates: Vec<Certificate>,
    /// Where certificate and key were put, if any were.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<PathBuf>,
    /// The file for browsers, if one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    p12: Option<PathBuf>,
    /// What was made or asked for, in PEM: a root certificate, a chain or a revocation list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pem: Option<String>,
    /// The number of the revocation list, if it was asked for or made.
    #[serde(skip_serializing_if = "Option::is_none")]
    crl_number: Option<u64>,
    /// What an element enrols with, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip)]
    shape: Shape,
}

/// How a report reads for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Made,
    Filed,
    Table,
    Details,
    Revoked,
    Pem,
    Token,
}

/// One certificate.
#[derive(Debug, Serialize, JsonSchema)]
struct Certificate {
    /// The serial number, 32 hex digits.
    serial: String,
    /// What it is for: `server`, `client` or `element`.
    kind: String,
    /// The name it is filed under.
    name: String,
    /// Its subject alternative names.
    names: Vec<String>,
    /// From when on it holds (RFC 3339).
    not_before: String,
    /// Until when it holds (RFC 3339).
    not_after: String,
    /// When it was revoked (RFC 3339), if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
    /// `valid`, `revoked` or `expired`.
    state: &'static str,
}

impl Report for Ca {
    const NAME: &'static str = "ca";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match self.shape {
            Shape::Made => {
                writeln!(out, "{}: an authority of {}", self.dir.display(), self.trust_domain)
            }
            Shape::Token => writeln!(out, "{}", self.token.as_deref().unwrap_or_default()),
            Shape::Pem => out.write_all(self.pem.as_deref().unwrap_or_default().as_bytes()),
            Shape::Filed => {
                self.table(out)?;
                if let Some(files) = &self.files {
                    writeln!(out, "in {}: cert.pem key.pem", files.display())?;
                }
                match &self.p12 {
                    Some(file) => writeln!(out, "for browsers: {}", file.display()),
                    None => Ok(()),
                }
            }
            Shape::Table => self.table(out),
            Shape::Details => {
                self.certificates.iter().try_for_each(|certificate| certificate.details(out))
            }
            Shape::Revoked => {
                self.table(out)?;
                writeln!(out, "revocation list {}", self.crl_number.unwrap_or_default())
            }
        }
    }
}

impl Ca {
    fn new(ca: &EmbeddedCa, shape: Shape, certificates: Vec<(Serial, Record)>) -> Ca {
        let now_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let certificate = |(serial, record)| Certificate::new(serial, &record, now_unix_s);
        Ca {
            dir: ca.dir().to_owned(),
            trust_domain: ca.trust_domain().to_string(),
            certificates: certificates.into_iter().map(certificate).collect(),
            files: None,
            p12: None,
            pem: None,
            crl_number: None,
            token: None,
            shape,
        }
    }

    fn table(&self, out: &mut dyn Write) -> io::Result<()> {
        let width = |of: fn(&Certificate) -> usize| self.certificates.iter().map(of).max();
        let name_width = width(|certificate| certificate.name.len()).unwrap_or_default();
        for certificate in &self.certificates {
            let Certificate { kind, name, state, not_after, serial, .. } = certificate;
            writeln!(out, "{kind:7}  {name:name_width$}  {state:7}  {not_after}  {serial}")?;
        }
        Ok(())
    }
}

impl Certificate {
    fn new(serial: Serial, record: &Record, now_unix_s: u64) -> Certificate {
        let state = match record.revoked_unix_s {
            Some(_) => "revoked",
            None if record.not_after_unix_s < now_unix_s => "expired",
            None => "valid",
        };
        Certificate {
            serial: serial.to_string(),
            kind: record.kind.to_string(),
            name: record.name.to_string(),
            names: record.names.clone(),
            not_before: rfc_3339(record.not_before_unix_s),
            not_after: rfc_3339(record.not_after_unix_s),
            revoked: record.revoked_unix_s.map(rfc_3339),
            state,
        }
    }

    fn details(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}/{}", self.kind, self.name)?;
        writeln!(out, "  serial      {}", self.serial)?;
        self.names.iter().try_for_each(|name| writeln!(out, "  name        {name}"))?;
        writeln!(out, "  not before  {}", self.not_before)?;
        writeln!(out, "  not after   {}", self.not_after)?;
        match &self.revoked {
            Some(revoked) => writeln!(out, "  revoked     {revoked}"),
            None => writeln!(out, "  state       {}", self.state),
        }
    }
}

pub(crate) fn run(args: Args, context: &mut Context) -> Result<Outcome, Failure> {
    let report = match args.verb {
        Verb::Init { domain } => init(&args.dir, &domain),
        Verb::Restore(from) => {
            context.emit(&backup::restore(&args.dir, &from)?)?;
            return Ok(Outcome::Done);
        }
        Verb::Backup(to) => {
            let ca = told(EmbeddedCa::open(&args.dir))?;
            context.emit(&backup::backup(&ca, &to)?)?;
            return Ok(Outcome::Done);
        }
        Verb::Rotate(verb) => {
            let ca = told(EmbeddedCa::open(&args.dir))?;
            context.emit(&rotate::run(&ca, &verb)?)?;
            return Ok(Outcome::Done);
        }
        verb => told(EmbeddedCa::open(&args.dir)).and_then(|ca| with(&ca, verb)),
    }?;
    context.emit(&report)?;
    Ok(Outcome::Done)
}

fn init(dir: &Path, domain: &TrustDomain) -> Result<Ca, Failure> {
    let ca = told(EmbeddedCa::init(dir, domain))?;
    let mut report = Ca::new(&ca, Shape::Made, Vec::new());
    report.pem = Some(told(ca.roots_pem())?);
    Ok(report)
}

fn with(ca: &EmbeddedCa, verb: Verb) -> Result<Ca, Failure> {
    Ok(match verb {
        Verb::Init { .. } | Verb::Backup(_) | Verb::Restore(_) | Verb::Rotate(_) => {
            return Err(Failure::new("an authority is made before it is opened"));
        }
        Verb::Server(asked) => issue(ca, Kind::Server, asked)?.0,
        Verb::Client(asked) => client(ca, asked)?,
        Verb::Element { name, request } => element(ca, &name, &request)?,
        Verb::Token { name, minutes } => {
            let token = told(ca.token(&name, Duration::from_secs(minutes.saturating_mul(60))))?;
            let mut report = Ca::new(ca, Shape::Token, Vec::new());
            report.token = Some(token.danger_text());
            report
        }
        Verb::List => Ca::new(ca, Shape::Table, told(ca.list())?),
        Verb::Show { which } => Ca::new(ca, Shape::Details, told(ca.find(&which))?),
        Verb::Revoke { which } => {
            let revoked = told(ca.revoke(&which))?;
            let mut report = Ca::new(ca, Shape::Revoked, revoked);
            report.crl_number = Some(told(ca.crl_pem(false))?.1);
            report
        }
        Verb::Crl { renew } => {
            let (pem, number) = told(ca.crl_pem(renew))?;
            let mut report = Ca::new(ca, Shape::Pem, Vec::new());
            report.pem = Some(pem);
            report.crl_number = Some(number);
            report
        }
    })
}

fn client(ca: &EmbeddedCa, asked: ForClient) -> Result<Ca, Failure> {
    let Some(to) = asked.p12 else {
        if asked.password.is_given() {
            return Err(Failure::usage("a password is for a file: --p12 is missing"));
        }
        return Ok(issue(ca, Kind::Client, asked.issue)?.0);
    };
    // Whatever can be refused is refused before there is a certificate.
    if let Some(path) = to.as_deref().filter(|path| path.exists()) {
        return told(Err(AuthorityError::FileExists { path: path.to_owned() }));
    }
    let password = asked.password.new_password(&format!("the file of {}", asked.issue.name));
    let password = password.unchanged("the authority and every key")?;
    let (mut report, issued) = issue(ca, Kind::Client, asked.issue)?;
    let written = ca.write_p12(&issued, &password, to.as_deref());
    report.p12 = Some(written.context(format!(
        "certificate and key are in {}, but not in a file for browsers",
        issued.dir.display()
    ))?);
    Ok(report)
}

fn issue(ca: &EmbeddedCa, kind: Kind, asked: Issue) -> Result<(Ca, Issued), Failure> {
    let request = Request {
        kind,
        name: asked.name,
        names: asked.names,
        lasts: Duration::from_secs(asked.days.saturating_mul(SECONDS_A_DAY)),
        replace: asked.force,
    };
    let issued = told(ca.issue(&request))?;
    let mut report = Ca::new(ca, Shape::Filed, vec![(issued.serial, issued.record.clone())]);
    report.files = Some(issued.dir.clone());
    Ok((report, issued))
}

fn element(ca: &EmbeddedCa, name: &Name, file: &Path) -> Result<Ca, Failure> {
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes).map(|_| ())
    } else {
        fs::read(file).map(|read| bytes = read)
    };
    read.context(format!("{} cannot be read", file.display()))?;
    let certificates = told(ca.sign_element(name, &pem::signing_request(bytes)))?;
    let mut report = Ca::new(ca, Shape::Pem, Vec::new());
    report.pem = Some(pem::chain(&certificates.chain) + &told(ca.roots_pem())?);
    Ok(report)
}

/// What the authority says went wrong, as the user is told it.
fn told<T>(result: Result<T, AuthorityError>) -> Result<T, Failure> {
    result.map_err(|error| {
        let hint = error.hint();
        // A failed write may come after the certificate was recorded.
        let changed = matches!(error, AuthorityError::File { .. });
        let usage = matches!(error, AuthorityError::BadRequest(_));
        let failure = if usage { Failure::usage(error) } else { Failure::from(error) };
        let failure = match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        };
        if changed { failure } else { failure.unchanged("the authority and every key") }
    })
}

fn rfc_3339(unix_s: u64) -> String {
    let moment =
        i64::try_from(unix_s).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    moment.and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_else(|| unix_s.to_string())
}
