//! One process holds a domain; what a crash leaves is found and removed, and nothing else is.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ringmail_node::runtime::{Claim, Leftovers, Place, ProcessId, RuntimeError};
use ringmail_node::topology::{Fabric, Privilege};

use crate::network::names;
use crate::world::{Base, campus, domain, with_privilege};

/// Tells a started holder which domain, and where.
const HOLD: &str = "RINGMAIL_TEST_HOLD";

#[test]
fn a_second_start_is_refused_until_the_first_lets_go() {
    let base = Base::new();
    let (first, _) = Claim::take(&base.place(), "one", right()).unwrap();
    let refused = Claim::take(&base.place(), "one", right());
    let Err(RuntimeError::Busy { domain, pid }) = refused else { panic!("{refused:?}") };
    assert_eq!((domain.as_str(), pid), ("one", Some(std::process::id())));
    // Another domain is none of its business.
    let (other, _) = Claim::take(&base.place(), "two", right()).unwrap();
    first.release().unwrap();
    let (_again, leftovers) = Claim::take(&base.place(), "one", right()).unwrap();
    assert_eq!(leftovers, Leftovers::default());
    drop(other);
}

#[test]
fn of_many_starts_at_once_one_wins() {
    const STARTS: usize = 16;
    let base = Base::new();
    for _ in 0..20 {
        let barrier = std::sync::Barrier::new(STARTS);
        let winners: Vec<Claim> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..STARTS)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        match Claim::take(&base.place(), "one", right()) {
                            Ok((claim, _)) => Some(claim),
                            Err(RuntimeError::Busy { .. }) => None,
                            Err(error) => panic!("{error}"),
                        }
                    })
                })
                .collect();
            starts.into_iter().filter_map(|start| start.join().unwrap()).collect()
        });
        assert_eq!(winners.len(), 1);
    }
}

#[test]
fn starts_that_meet_an_end_never_hold_the_domain_together() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    const STARTS: usize = 4;
    let base = Base::new();
    let (holders, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..STARTS {
            scope.spawn(|| {
                while taken.load(SeqCst) < 400 {
                    match Claim::take(&base.place(), "one", right()) {
                        Ok((claim, _)) => {
                            assert_eq!(holders.fetch_add(1, SeqCst), 0, "two hold the domain");
                            taken.fetch_add(1, SeqCst);
                            holders.fetch_sub(1, SeqCst);
                            claim.release().unwrap();
                        }
                        Err(RuntimeError::Busy { .. }) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
            });
        }
    });
}

#[test]
fn the_only_running_domain_is_found_without_a_name() {
    let base = Base::new();
    let place = base.place();
    assert!(
        matches!(place.find(None), Err(RuntimeError::Unclear { domains }) if domains.is_empty())
    );
    let (_one, _) = Claim::take(&place, "one", right()).unwrap();
    assert_eq!(place.find(None).unwrap().1.domain, "one");
    let (_two, _) = Claim::take(&place, "two", right()).unwrap();
    assert!(
        matches!(place.find(None), Err(RuntimeError::Unclear { domains }) if domains == ["one", "two"])
    );
    assert_eq!(place.find(Some("two")).unwrap().1.domain, "two");
    assert!(matches!(place.find(Some("three")), Err(RuntimeError::NotUp { .. })));
    assert!(matches!(place.find(Some("../one")), Err(RuntimeError::Name { .. })));
}

#[test]
fn a_directory_that_others_may_enter_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let base = Base::new();
    std::fs::create_dir(&base.0).unwrap();
    std::fs::set_permissions(&base.0, PermissionsExt::from_mode(0o755)).unwrap();
    let refused = Claim::take(&base.place(), "one", right());
    assert!(matches!(refused, Err(RuntimeError::NotOurs { .. })), "{refused:?}");
    std::fs::remove_dir(&base.0).unwrap();
    std::os::unix::fs::symlink("/tmp", &base.0).unwrap();
    let refused = Claim::take(&base.place(), "one", right());
    assert!(matches!(refused, Err(RuntimeError::NotOurs { .. })), "{refused:?}");
    std::fs::remove_file(&base.0).unwrap();
}

#[test]
fn what_a_crash_leaves_goes_with_the_next_start() {
    with_privilege("claim::what_a_crash_leaves_goes_with_the_next_start", |privilege| {
        let (base, domain) = (Base::new(), domain());
        let (mut holder, orphan) = start_holder(&base.place(), &domain, privilege);
        let refused = Claim::take(&base.place(), &domain, privilege);
        assert!(
            matches!(refused, Err(RuntimeError::Busy { pid, .. }) if pid == Some(holder.id())),
            "{refused:?}"
        );
        let foreign = Foreign::new(privilege, &domain);
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert!(orphan.is_alive(), "the crash left no process to clean up");

        let (claim, leftovers) = Claim::take(&base.place(), &domain, privilege).unwrap();
        let namespaces = if privilege == Privilege::Root { 8 } else { 0 };
        assert_eq!(leftovers, Leftovers { namespaces, processes: 1, files: 1 });
        assert!(!orphan.is_alive());
        assert!(foreign.is_there(), "a file that no record names was removed");
        drop(foreign);
        assert_eq!(names(&domain), 0);
        claim.release().unwrap();
        assert!(!base.0.exists());
    });
}

#[test]
fn a_process_that_took_over_a_recorded_number_lives_on() {
    let base = Base::new();
    let (mut claim, _) = Claim::take(&base.place(), "one", right()).unwrap();
    let mut bystander = Command::new("sleep").arg("60").spawn().unwrap();
    let id = ProcessId::of(bystander.id()).unwrap();
    claim.hold_process("hop1", ProcessId { started_ticks: id.started_ticks - 1, ..id }).unwrap();
    claim.release().unwrap();
    assert!(bystander.try_wait().unwrap().is_none(), "it was killed");
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

/// A name under /run/netns that begins like the domain's and is somebody else's.
struct Foreign(Option<std::path::PathBuf>);

impl Foreign {
    fn new(privilege: Privilege, domain: &str) -> Foreign {
        Foreign((privilege == Privilege::Root).then(|| {
            let path = Path::new("/run/netns").join(format!("ringmail-{domain}-foreign"));
            std::fs::write(&path, "").unwrap();
            path
        }))
    }

    fn is_there(&self) -> bool {
        self.0.as_ref().is_none_or(|path| path.exists())
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.0.take().map(std::fs::remove_file);
    }
}

/// Starts a process that holds a domain with a network, a file and an element that outlives it.
fn start_holder(place: &Place, domain: &str, privilege: Privilege) -> (Child, ProcessId) {
    let rootless = privilege != Privilege::Root;
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "claim::holder", "--ignored", "--nocapture"])
        .env(HOLD, format!("{} {domain} {rootless}", place.base().display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    let pid = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("holding ").map(|pid| pid.parse().unwrap()))
        .expect("the holder says which process it started");
    (holder, ProcessId::of(pid).unwrap())
}

#[test]
#[ignore = "a role that what_a_crash_leaves_goes_with_the_next_start starts and kills"]
fn holder() {
    let Ok(hold) = std::env::var(HOLD) else { return };
    let [base, domain, rootless] = hold.split(' ').collect::<Vec<_>>().try_into().unwrap();
    let privilege =
        if rootless == "true" { Privilege::Rootless { uid: 0 } } else { Privilege::Root };
    let (mut claim, _) = Claim::take(&Place::at(base), domain, privilege).unwrap();
    let _fabric = Fabric::build(&campus(domain), privilege, &mut claim).unwrap();
    let mut element = Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap();
    claim.hold_process("hop1", ProcessId::of(element.id()).unwrap()).unwrap();
    std::fs::write(claim.hold_file("admin.sock").unwrap(), "").unwrap();
    writeln!(std::io::stdout(), "\nholding {}", element.id()).unwrap();
    std::io::stdout().flush().unwrap();
    // Until it is killed.
    element.wait().unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

fn right() -> Privilege {
    if Privilege::is_root() { Privilege::Root } else { Privilege::Rootless { uid: 0 } }
}
