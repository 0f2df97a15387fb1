//! Authorities in directories that go away with the test, and a clock that tests turn.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringmail_model::names::{Name, TrustDomain};
use ringmail_trust::{EmbeddedCa, Kind, Request, SubjectName, limits};

/// A directory of a test's own, removed when dropped.
#[derive(Debug)]
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new() -> Place {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringmail-trust-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Place(path)
    }

    /// Where the authority goes.
    pub(crate) fn ca(&self) -> PathBuf {
        self.0.join("ca")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A clock that stands still until it is turned.
#[derive(Clone, Debug)]
pub(crate) struct Hands(Arc<AtomicU64>);

impl Hands {
    pub(crate) fn at(unix_s: u64) -> Hands {
        Hands(Arc::new(AtomicU64::new(unix_s)))
    }

    pub(crate) fn turn(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::Relaxed);
    }

    pub(crate) fn unix_s(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn clock(&self) -> Arc<dyn Fn() -> SystemTime + Send + Sync> {
        let hands = self.clone();
        Arc::new(move || UNIX_EPOCH + Duration::from_secs(hands.unix_s()))
    }
}

pub(crate) fn domain() -> TrustDomain {
    "campus.example".parse().expect("a trust domain")
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

pub(crate) fn authority(place: &Place) -> EmbeddedCa {
    EmbeddedCa::init(&place.ca(), &domain()).expect("a new authority")
}

pub(crate) fn server(of: &str, names: &[&str]) -> Request {
    request(Kind::Server, of, names)
}

pub(crate) fn client(of: &str, names: &[&str]) -> Request {
    request(Kind::Client, of, names)
}

fn request(kind: Kind, of: &str, names: &[&str]) -> Request {
    let parse = |name: &&str| name.parse::<SubjectName>().expect("a subject name");
    Request {
        kind,
        name: name(of),
        names: names.iter().map(parse).collect(),
        lasts: limits::CERTIFICATE_LASTS,
        replace: false,
    }
}
