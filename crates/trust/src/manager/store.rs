//! The manager's database: one SQLite file that is whole whenever the process ends.
//!
//! Write-ahead logging and a full sync at every commit. All that one call to the manager changed is one transaction, with
//! the log's entries in it; the answer leaves after the commit. So what was handed out stands in the log, and what stands
//! in the log may at worst not have been handed out.

use std::path::{Path, PathBuf};

use ringmail_model::{Name, TrustDomain};
use ringmail_trust_core::manager::audit::{Act, Entry, NOTHING, link};
use ringmail_trust_core::manager::merkle::{self, Complete, Nodes};
use ringmail_trust_core::manager::{
    Effect, FunctionRecord, Hash, HostRecord, Kind, Serial, Standing, Subject,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::ManagerError;

/// The file in the manager's directory.
pub(super) const DATABASE: &str = "manager.sqlite";

/// The newest format that this release knows.
const FORMAT: u32 = 1;

const SCHEMA: &str = "
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (
  position INTEGER PRIMARY KEY, kind TEXT NOT NULL, subject TEXT, entry BLOB NOT NULL);
CREATE TABLE nodes (
  level INTEGER NOT NULL, position INTEGER NOT NULL, hash BLOB NOT NULL,
  PRIMARY KEY (level, position)) WITHOUT ROWID;
CREATE TABLE hosts (
  name TEXT PRIMARY KEY, standing TEXT NOT NULL, anchor BLOB NOT NULL, refusals INTEGER NOT NULL,
  held INTEGER NOT NULL, cause TEXT NOT NULL, since_unix_ms INTEGER NOT NULL,
  key BLOB, state BLOB) WITHOUT ROWID;
CREATE TABLE functions (
  name TEXT PRIMARY KEY, host TEXT NOT NULL, standing TEXT NOT NULL, refusals INTEGER NOT NULL,
  held INTEGER NOT NULL, cause TEXT NOT NULL, since_unix_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE certificates (
  serial TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, position INTEGER NOT NULL,
  not_after_unix_s INTEGER NOT NULL, revoked_unix_s INTEGER) WITHOUT ROWID;
CREATE INDEX certificates_end ON certificates (not_after_unix_s);
CREATE TABLE tokens (
  hash BLOB PRIMARY KEY, host TEXT NOT NULL, not_after_unix_s INTEGER NOT NULL) WITHOUT ROWID;
";

/// The database, and the end of the log in it.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    path: PathBuf,
    pub(super) tip: Tip,
}

/// The end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) size: u64,
    pub(super) last: Hash,
    pub(super) root: Hash,
    pub(super) term: u64,
}

/// A certificate as it is remembered.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) subject: Subject,
    pub(super) serial: Serial,
    pub(super) not_after_unix_s: u64,
    pub(super) revoked_unix_s: Option<u64>,
}

/// What a host's evidence is bound to, and what its last appraisal left behind.
#[derive(Clone, Debug, Default)]
pub(super) struct HostKey {
    pub(super) anchor: Vec<u8>,
    pub(super) state: Vec<u8>,
}

/// What one call changes besides the core's effects.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// The key of a host that enrolled.
    pub(super) key: Option<(Name, Vec<u8>)>,
    /// A token that is spent.
    pub(super) spent: Option<Hash>,
    /// Facts that are set.
    pub(super) facts: Vec<(&'static str, String)>,
}

impl Beside {
    pub(super) fn is_empty(&self) -> bool {
        self.key.is_none() && self.spent.is_none() && self.facts.is_empty()
    }
}

impl Store {
    /// Opens the database in `dir`, or makes one.
    pub(super) fn open(dir: &Path, domain: &TrustDomain) -> Result<Store, ManagerError> {
        let path = dir.join(DATABASE);
        let connection = Connection::open(&path)?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found > FORMAT {
            return Err(ManagerError::Newer { path, found, known: FORMAT });
        }
        if found == 0 {
            let transaction = connection.unchecked_transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.execute(
                "INSERT INTO facts VALUES ('domain', ?1), ('term', '1'), ('crl', '0')",
                [domain.as_str()],
            )?;
            transaction.pragma_update(None, "user_version", FORMAT)?;
            transaction.commit()?;
        }
        let tip = Tip { size: 0, last: NOTHING, root: merkle::empty(), term: 1 };
        let mut store = Store { connection, path, tip };
        if store.fact("domain")?.as_deref() != Some(domain.as_str()) {
            return Err(store.damaged("it belongs to another domain"));
        }
        store.tip = store.found_tip()?;
        Ok(store)
    }

    /// The end of the log as it is in the database. Whether the rest of the log is as it was, [`Store::verify`] says.
    fn found_tip(&self) -> Result<Tip, ManagerError> {
        let term = self.fact("term")?.and_then(|term| term.parse().ok());
        let term = term.ok_or_else(|| self.damaged("the term is missing"))?;
        let last: Option<(u64, Vec<u8>)> = self
            .connection
            .query_row(
                "SELECT position, entry FROM entries ORDER BY position DESC LIMIT 1",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let Some((position, entry)) = last else {
            return Ok(Tip { size: 0, last: NOTHING, root: merkle::empty(), term });
        };
        let size = position + 1;
        let root = merkle::root(self, size).ok_or_else(|| self.damaged("the tree has holes"))?;
        Ok(Tip { size, last: link(&entry), root, term })
    }

    /// Writes what a call changed: all of it or nothing. When this returns it is on the disk.
    pub(super) fn commit(
        &mut self,
        effects: &[Effect],
        beside: &Beside,
        unix_ms: u64,
    ) -> Result<(), ManagerError> {
        let transaction = self.connection.unchecked_transaction()?;
        let mut tip = self.tip;
        for effect in effects {
            match effect {
                Effect::Log(act) => log(&transaction, &mut tip, act, unix_ms)?,
                Effect::KeepHost(record) => keep_host(&transaction, record)?,
                Effect::KeepFunction(record) => keep_function(&transaction, record)?,
                Effect::Revoked { .. }
                | Effect::Withdraw(_)
                | Effect::Readmit(_)
                | Effect::CloseLeases(_) => {}
            }
        }
        if let Some((host, key)) = &beside.key {
            let sql = "UPDATE hosts SET key = ?2, state = NULL WHERE name = ?1";
            transaction.execute(sql, params![host.as_str(), key])?;
        }
        if let Some(hash) = &beside.spent {
            transaction.execute("DELETE FROM tokens WHERE hash = ?1", [hash.as_slice()])?;
        }
        for (name, value) in &beside.facts {
            transaction.execute("REPLACE INTO facts VALUES (?1, ?2)", params![name, value])?;
        }
        if tip.size != self.tip.size {
            tip.root = merkle::root(&Tree(&transaction), tip.size)
                .ok_or_else(|| self.damaged("the tree has holes"))?;
        }
        transaction.commit()?;
        self.tip = tip;
        Ok(())
    }

    /// Keeps what appraisals left behind.
    pub(super) fn keep_states<'a>(
        &self,
        states: impl Iterator<Item = (&'a Name, &'a [u8])>,
    ) -> Result<(), ManagerError> {
        let transaction = self.connection.unchecked_transaction()?;
        for (host, state) in states {
            let sql = "UPDATE hosts SET state = ?2 WHERE name = ?1";
            transaction.execute(sql, params![host.as_str(), state])?;
        }
        Ok(transaction.commit()?)
    }

    /// Forgets certificates and tokens that ran out; the log keeps its entries.
    pub(super) fn forget(&self, before_unix_s: u64) -> Result<(), ManagerError> {
        for table in ["certificates", "tokens"] {
            let sql = format!("DELETE FROM {table} WHERE not_after_unix_s < ?1");
            self.connection.execute(&sql, [before_unix_s])?;
        }
        Ok(())
    }

    pub(super) fn fact(&self, name: &str) -> Result<Option<String>, ManagerError> {
        let sql = "SELECT value FROM facts WHERE name = ?1";
        Ok(self.connection.query_row(sql, [name], |row| row.get(0)).optional()?)
    }

    pub(super) fn hosts(&self) -> Result<Vec<(HostRecord, HostKey)>, ManagerError> {
        let sql = "SELECT name, standing, anchor, refusals, held, cause, since_unix_ms, key, state FROM hosts";
        self.all(sql, |row| {
            let record = HostRecord {
                name: parsed(row, 0)?,
                standing: standing(row, 1)?,
                anchor: row.get(2)?,
                refusals: row.get(3)?,
                held: row.get(4)?,
                cause: row.get(5)?,
                since_unix_ms: row.get(6)?,
            };
            let blob = |at| row.get::<_, Option<Vec<u8>>>(at).map(Option::unwrap_or_default);
            Ok((record, HostKey { anchor: blob(7)?, state: blob(8)? }))
        })
    }

    pub(super) fn functions(&self) -> Result<Vec<FunctionRecord>, ManagerError> {
        let sql =
            "SELECT name, host, standing, refusals, held, cause, since_unix_ms FROM functions";
        self.all(sql, |row| {
            Ok(FunctionRecord {
                name: parsed(row, 0)?,
                host: parsed(row, 1)?,
                standing: standing(row, 2)?,
                refusals: row.get(3)?,
                held: row.get(4)?,
                cause: row.get(5)?,
                since_unix_ms: row.get(6)?,
            })
        })
    }

    pub(super) fn certificates(&self) -> Result<Vec<Certificate>, ManagerError> {
        let sql = "SELECT serial, kind, name, not_after_unix_s, revoked_unix_s FROM certificates";
        self.all(sql, |row| {
            Ok(Certificate {
                serial: parsed(row, 0)?,
                subject: Subject { kind: kind(row, 1)?, name: parsed(row, 2)? },
                not_after_unix_s: row.get(3)?,
                revoked_unix_s: row.get(4)?,
            })
        })
    }

    /// Encoded entries from `first` on, at most `count`.
    pub(super) fn entries(&self, first: u64, count: u64) -> Result<Vec<Vec<u8>>, ManagerError> {
        let sql = "SELECT entry FROM entries WHERE position >= ?1 ORDER BY position LIMIT ?2";
        let mut statement = self.connection.prepare(sql)?;
        let found = statement.query_map([first, count], |row| row.get(0))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    /// Where a certificate stands in the log.
    pub(super) fn position(&self, serial: &Serial) -> Result<Option<u64>, ManagerError> {
        let sql = "SELECT position FROM certificates WHERE serial = ?1";
        let found = self.connection.query_row(sql, [serial.to_string()], |row| row.get(0));
        Ok(found.optional()?)
    }

    pub(super) fn add_token(
        &self,
        hash: &Hash,
        host: &Name,
        not_after_unix_s: u64,
    ) -> Result<(), ManagerError> {
        let sql = "INSERT INTO tokens VALUES (?1, ?2, ?3)";
        let row = params![hash.as_slice(), host.as_str(), not_after_unix_s];
        self.connection.execute(sql, row)?;
        Ok(())
    }

    /// Whether a token is a host's and may be used.
    pub(super) fn has_token(
        &self,
        hash: &Hash,
        host: &Name,
        now_unix_s: u64,
    ) -> Result<bool, ManagerError> {
        let sql = "SELECT 1 FROM tokens WHERE hash = ?1 AND host = ?2 AND not_after_unix_s >= ?3";
        let row = params![hash.as_slice(), host.as_str(), now_unix_s];
        Ok(self.connection.query_row(sql, row, |_| Ok(())).optional()?.is_some())
    }

    pub(super) fn damaged(&self, reason: &str) -> ManagerError {
        ManagerError::Damaged { path: self.path.clone(), reason: reason.to_owned() }
    }

    fn all<T>(
        &self,
        sql: &str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, ManagerError> {
        let mut statement = self.connection.prepare(sql)?;
        let found = statement.query_map([], read)?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}

impl Nodes for Store {
    fn node(&self, level: u32, index: u64) -> Option<Hash> {
        Tree(&self.connection).node(level, index)
    }
}

/// The tree as a connection sees it: within a transaction, with what that wrote.
struct Tree<'a>(&'a Connection);

impl Nodes for Tree<'_> {
    fn node(&self, level: u32, index: u64) -> Option<Hash> {
        let sql = "SELECT hash FROM nodes WHERE level = ?1 AND position = ?2";
        self.0.query_row(sql, params![level, index], |row| row.get(0)).ok()
    }
}

/// Puts an entry behind the others, with the nodes that it completes and what it says of certificates.
fn log(
    connection: &Connection,
    tip: &mut Tip,
    act: &Act,
    unix_ms: u64,
) -> Result<(), ManagerError> {
    let entry =
        Entry { index: tip.size, at_unix_ms: unix_ms, previous: tip.last, act: act.clone() };
    let encoded = entry.encode();
    let sql = "INSERT INTO entries VALUES (?1, ?2, ?3, ?4)";
    let subject = act.subject().map(|subject| subject.to_string());
    connection.execute(sql, params![tip.size, act.name(), subject, encoded])?;
    let complete = merkle::append(&Tree(connection), tip.size, merkle::leaf(&encoded));
    for Complete { level, index, hash } in complete.unwrap_or_default() {
        let sql = "INSERT INTO nodes VALUES (?1, ?2, ?3)";
        connection.execute(sql, params![level, index, hash.as_slice()])?;
    }
    match act {
        Act::Issued(issued) => {
            let sql = "INSERT INTO certificates VALUES (?1, ?2, ?3, ?4, ?5, NULL)";
            let Subject { kind, name } = &issued.subject;
            let (serial, end) = (issued.serial.to_string(), issued.not_after_unix_s);
            let row = params![serial, kind.name(), name.as_str(), tip.size, end];
            connection.execute(sql, row)?;
        }
        Act::Revoked { serials, .. } => {
            let sql = "UPDATE certificates SET revoked_unix_s = ?2 WHERE serial = ?1";
            for serial in serials {
                connection.execute(sql, params![serial.to_string(), unix_ms / 1000])?;
            }
        }
        Act::TookOver { term, .. } => {
            let sql = "REPLACE INTO facts VALUES ('term', ?1)";
            connection.execute(sql, [term.to_string()])?;
            tip.term = *term;
        }
        _ => {}
    }
    (tip.size, tip.last) = (tip.size + 1, link(&encoded));
    Ok(())
}

fn keep_host(connection: &Connection, record: &HostRecord) -> Result<(), ManagerError> {
    let HostRecord { name, standing, anchor, refusals, held, cause, since_unix_ms } = record;
    let sql = "INSERT INTO hosts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, NULL) ON CONFLICT DO UPDATE SET \
               standing = ?2, anchor = ?3, refusals = ?4, held = ?5, cause = ?6, since_unix_ms = ?7";
    let (name, standing, anchor) = (name.as_str(), standing.name(), anchor.as_slice());
    let row = params![name, standing, anchor, refusals, held, cause, since_unix_ms];
    connection.execute(sql, row)?;
    Ok(())
}

fn keep_function(connection: &Connection, record: &FunctionRecord) -> Result<(), ManagerError> {
    let FunctionRecord { name, host, standing, refusals, held, cause, since_unix_ms } = record;
    let sql = "REPLACE INTO functions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let (name, host, standing) = (name.as_str(), host.as_str(), standing.name());
    connection.execute(sql, params![name, host, standing, refusals, held, cause, since_unix_ms])?;
    Ok(())
}

fn parsed<T: std::str::FromStr>(row: &Row<'_>, at: usize) -> rusqlite::Result<T> {
    row.get::<_, String>(at)?.parse().map_err(|_| unknown(at))
}

fn standing(row: &Row<'_>, at: usize) -> rusqlite::Result<Standing> {
    const ALL: [Standing; 6] = [
        Standing::Enrolling,
        Standing::Trusted,
        Standing::Warned,
        Standing::Quarantined,
        Standing::Revoked,
        Standing::Recovering,
    ];
    let word: String = row.get(at)?;
    ALL.into_iter().find(|standing| standing.name() == word).ok_or_else(|| unknown(at))
}

fn kind(row: &Row<'_>, at: usize) -> rusqlite::Result<Kind> {
    let word: String = row.get(at)?;
    let all = [Kind::Host, Kind::Function, Kind::Agent];
    all.into_iter().find(|kind| kind.name() == word).ok_or_else(|| unknown(at))
}

fn unknown(at: usize) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(at, "another value".into(), rusqlite::types::Type::Text)
}
