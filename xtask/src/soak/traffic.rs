//! Traffic of a soak: foreign clients in the clients' namespaces, each of which asks, checks what it got, and asks again.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::domain::{RAW, WEB};
use super::world::Tools;

/// Seconds that one transfer may take.
const TRANSFER_S: &str = "30";

/// How long a client rests after a transfer that failed.
const REST: Duration = Duration::from_millis(200);

/// One kind of client.
#[derive(Debug)]
struct Kind {
    name: &'static str,
    client: &'static str,
    args: &'static [&'static str],
    /// What is asked for, one behind the other, and how many bytes come of it in all.
    urls: &'static [&'static str],
    bytes: usize,
}

/// HTTP/1.1 and 2, small and large, up and down, through one function, through two, and through the `tls` listener.
const KINDS: &[Kind] = &[
    Kind {
        name: "http/1.1",
        client: "client1",
        args: &["--http1.1"],
        urls: &["https://www.soak.example/download/[1001-1016]"],
        bytes: 16 * 1_001 + 120,
    },
    Kind {
        name: "http/2",
        client: "client2",
        args: &["--http2"],
        urls: &["https://www.soak.example/download/[20001-20012]"],
        bytes: 12 * 20_001 + 66,
    },
    Kind {
        name: "download",
        client: "client2",
        args: &["--http2", "--limit-rate", "8M"],
        urls: &["https://www.soak.example/download/6000000"],
        bytes: 6_000_000,
    },
    Kind {
        name: "download http/1.1",
        client: "client1",
        args: &["--http1.1", "--limit-rate", "8M"],
        urls: &["https://www.soak.example/download/6000001"],
        bytes: 6_000_001,
    },
    Kind {
        name: "upload",
        client: "client1",
        args: &["--http2", "--data-binary", "@upload"],
        urls: &["https://www.soak.example/upload"],
        // The number of bytes, which the site answers with.
        bytes: 0,
    },
    Kind {
        name: "tls listener",
        client: "client2",
        args: &["--http1.1"],
        urls: &["https://raw.soak.example:8443/download/300000"],
        bytes: 300_000,
    },
];

/// What became of the transfers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Whole and right, by kind.
    pub(crate) done: BTreeMap<&'static str, u64>,
    /// Why others were not.
    pub(crate) failed: Vec<String>,
    /// What each kind gets, told by the first of it.
    known: BTreeMap<&'static str, u64>,
}

/// Clients at work.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Lets a client of every kind work until [`Traffic::stop`].
    pub(crate) fn start(tools: &Tools, tally: &Arc<Mutex<Tally>>) -> Traffic {
        let stop = Arc::<AtomicBool>::default();
        let work = |kind: &'static Kind| {
            let (tools, tally, stop) = (tools.clone(), Arc::clone(tally), Arc::clone(&stop));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let outcome = transfer(&tools, kind);
                    let failed = outcome.is_err();
                    lock(&tally).note(kind, outcome);
                    if failed {
                        std::thread::sleep(REST);
                    }
                }
            })
        };
        let threads = KINDS.iter().map(work).collect();
        Traffic { stop, threads }
    }

    /// Lets every client end what it has begun.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        // One that panicked counted nothing more.
        self.threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

impl Tally {
    fn note(&mut self, kind: &'static Kind, outcome: Result<u64, String>) {
        let right = outcome.and_then(|content| {
            let first = *self.known.entry(kind.name).or_insert(content);
            if first == content {
                Ok(())
            } else {
                Err("other bytes than the first time".to_owned())
            }
        });
        match right {
            Ok(()) => *self.done.entry(kind.name).or_default() += 1,
            Err(why) => self.failed.push(format!("{}: {why}", kind.name)),
        }
    }
}

/// One transfer: a hash over what came.
fn transfer(tools: &Tools, kind: &Kind) -> Result<u64, String> {
    let mut args = vec!["curl", "--silent", "--show-error", "--fail", "--noproxy", "*"];
    args.extend(["--max-time", TRANSFER_S, "--resolve", WEB, "--resolve", RAW]);
    let [root, cert, key] = tools.papers(kind.client);
    args.extend(["--cacert", &root, "--cert", &cert, "--key", &key]);
    args.extend(kind.args);
    args.extend(kind.urls);
    let output = tools.inside(kind.client, &args).output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", output.status, said.trim()));
    }
    if kind.bytes > 0 && output.stdout.len() != kind.bytes {
        return Err(format!("{} bytes, not {}", output.stdout.len(), kind.bytes));
    }
    let mut hasher = DefaultHasher::new();
    output.stdout.hash(&mut hasher);
    Ok(hasher.finish())
}

/// What this guards is whole after every statement.
pub(crate) fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_than_the_first_time_are_a_failure() {
        let mut tally = Tally::default();
        let kind = &KINDS[0];
        tally.note(kind, Ok(1));
        tally.note(kind, Ok(1));
        assert_eq!((tally.done[kind.name], tally.failed.len()), (2, 0));
        tally.note(kind, Ok(2));
        tally.note(kind, Err("no route".to_owned()));
        assert_eq!((tally.done[kind.name], tally.failed.len()), (2, 2));
        assert!(tally.failed[1].contains("http/1.1: no route"));
    }
}
