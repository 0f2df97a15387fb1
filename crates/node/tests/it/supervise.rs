//! Elements as processes and threads: started, spoken to, and stopped, whatever they do.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringmail_node::control::FromElement;
use ringmail_node::runtime::ProcessId;
use ringmail_node::supervise::{
    Body, ElementSpec, ElementState, Event, Exit, How, LineSink, RequestError, SpawnError,
    StartError, Supervisor,
};
use ringmail_node::topology::Netns;

use crate::role::{TestConductor, missing, program, status, thread};
use crate::world::with_privilege;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);

/// A supervisor, and the namespace that its elements live in.
struct House {
    supervisor: Supervisor,
    netns: Arc<Netns>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl House {
    fn new() -> House {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = LineSink::new({
            let lines = Arc::clone(&lines);
            move |name, line| lines.lock().unwrap().push(format!("[{name}] {line}"))
        });
        let netns = Arc::new(Netns::anonymous("room").unwrap());
        House { supervisor: Supervisor::new(sink).unwrap(), netns, lines }
    }

    async fn spawn(&mut self, name: &str, body: Body) -> Result<Option<u32>, SpawnError> {
        let netns = Arc::clone(&self.netns);
        self.supervisor.spawn(ElementSpec { name: name.into(), netns, body }).await
    }

    async fn process(&mut self, role: &str) -> ProcessId {
        let pid = self.spawn(role, Body::Process(program(role))).await.unwrap().unwrap();
        ProcessId::of(pid).unwrap()
    }

    async fn ready(&mut self) {
        self.supervisor.await_ready(LONG, &mut TestConductor).await.unwrap();
    }
}

/// Runs a test with a runtime, in a place where namespaces can be made.
fn with_runtime(test: &str, body: impl AsyncFnOnce()) {
    with_privilege(test, |_| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(body());
    });
}

#[test]
fn an_element_becomes_ready_answers_and_ends_when_told() {
    with_runtime("supervise::an_element_becomes_ready_answers_and_ends_when_told", async || {
        let mut house = House::new();
        let process = house.process("good").await;
        house.spawn("thread", thread("good")).await.unwrap();
        house.ready().await;
        let handle = house.supervisor.handle();
        let inside = house.netns.run(status).unwrap();
        for name in ["good", "thread"] {
            assert_eq!(
                handle.status(name).await.unwrap(),
                inside,
                "{name} is in another namespace"
            );
            assert_eq!(handle.export_keys(name).await.unwrap()[0].sa_spi, 256);
        }
        assert_ne!(inside, status());
        assert_eq!(
            handle.status("nobody").await,
            Err(RequestError::Unknown { element: "nobody".into() })
        );
        let ends = house.supervisor.stop().await;
        for (name, exit) in &ends {
            assert_eq!(exit.as_ref().unwrap().how, How::Done, "{name}");
        }
        assert_eq!(ends.len(), 2);
        assert!(!process.is_alive());
        assert_eq!(handle.status("good").await, Err(RequestError::Ended));
    });
}

#[test]
fn an_element_that_fails_says_why() {
    with_runtime("supervise::an_element_that_fails_says_why", async || {
        for threads in [false, true] {
            let mut house = House::new();
            let body = if threads { thread("failing") } else { Body::Process(program("failing")) };
            house.spawn("hop1", body).await.unwrap();
            let failed = house.supervisor.await_ready(LONG, &mut TestConductor).await;
            let Err(StartError::Ended { element, exit }) = failed else { panic!("{failed:?}") };
            assert_eq!(
                (element.as_str(), exit.how),
                ("hop1", How::Code(if threads { 1 } else { 3 }))
            );
            assert_eq!(exit.causes, ["no TUN"]);
        }
    });
}

#[test]
fn an_element_that_crashes_leaves_its_last_lines() {
    with_runtime("supervise::an_element_that_crashes_leaves_its_last_lines", async || {
        let mut house = House::new();
        house.spawn("crashing", Body::Process(program("crashing"))).await.unwrap();
        let failed = house.supervisor.await_ready(LONG, &mut TestConductor).await;
        let Err(StartError::Ended { exit, .. }) = failed else { panic!("{failed:?}") };
        assert_eq!(exit.how, How::Signal(libc::SIGABRT));
        assert_eq!(exit.last_lines.last().unwrap(), "about to crash");
        assert!(house.lines.lock().unwrap().contains(&"[crashing] about to crash".to_owned()));
    });
}

#[test]
fn last_lines_are_kept_while_somebody_else_holds_standard_error_open() {
    let name = "supervise::last_lines_are_kept_while_somebody_else_holds_standard_error_open";
    with_runtime(name, async || {
        let mut house = House::new();
        house.spawn("leaving", Body::Process(program("leaving"))).await.unwrap();
        let failed = house.supervisor.await_ready(LONG, &mut TestConductor).await;
        let Err(StartError::Ended { exit, .. }) = failed else { panic!("{failed:?}") };
        assert_eq!(exit.how, How::Signal(libc::SIGABRT));
        assert_eq!(exit.last_lines.last().unwrap(), "a child stays");
    });
}

#[test]
fn a_thread_that_panics_ends_alone() {
    with_runtime("supervise::a_thread_that_panics_ends_alone", async || {
        let mut house = House::new();
        house.spawn("hop1", thread("panicking")).await.unwrap();
        let failed = house.supervisor.await_ready(LONG, &mut TestConductor).await;
        assert!(
            matches!(failed, Err(StartError::Ended { exit: Exit { how: How::Panic, .. }, .. })),
            "{failed:?}"
        );
    });
}

#[test]
fn an_element_that_is_never_ready_is_named() {
    with_runtime("supervise::an_element_that_is_never_ready_is_named", async || {
        let mut house = House::new();
        house.process("good").await;
        house.process("slow").await;
        let late = house.supervisor.await_ready(Duration::from_secs(2), &mut TestConductor).await;
        let Err(StartError::Late { elements, .. }) = late else { panic!("{late:?}") };
        assert_eq!(elements, ["slow"]);
    });
}

#[test]
fn a_request_that_cannot_be_granted_ends_the_start() {
    with_runtime("supervise::a_request_that_cannot_be_granted_ends_the_start", async || {
        let mut house = House::new();
        house.spawn("empty", Body::Process(program("empty"))).await.unwrap();
        let refused = house.supervisor.await_ready(LONG, &mut TestConductor).await;
        assert!(matches!(refused, Err(StartError::Conduct { .. })), "{refused:?}");
    });
}

#[test]
fn a_program_that_is_not_there_is_an_error_of_its_start() {
    with_runtime("supervise::a_program_that_is_not_there_is_an_error_of_its_start", async || {
        let mut house = House::new();
        let failed = house.spawn("hop1", Body::Process(missing())).await;
        let Err(SpawnError::System { source, .. }) = failed else { panic!("{failed:?}") };
        assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
        house.process("good").await;
        let twice = house.spawn("good", thread("good")).await;
        assert!(matches!(twice, Err(SpawnError::Twice { .. })), "{twice:?}");
        assert_eq!(house.supervisor.stop().await.len(), 1);
    });
}

#[test]
fn who_does_not_answer_is_not_waited_for_for_ever() {
    with_runtime("supervise::who_does_not_answer_is_not_waited_for_for_ever", async || {
        let mut house = House::new();
        house.spawn("silent", thread("silent")).await.unwrap();
        house.ready().await;
        let handle = house.supervisor.handle();
        let asked = handle
            .ask("silent", SHORT, |request| ringmail_node::control::ToElement::Status { request });
        let late = asked.await;
        assert!(matches!(late, Err(RequestError::Late { .. })), "{late:?}");
        let refused = handle.export_keys("silent").await;
        assert!(
            matches!(refused, Err(RequestError::Refused { reason }) if reason == "not from me")
        );
        house.supervisor.stop().await;
    });
}

#[test]
fn an_element_that_dies_within_a_question_is_told_at_once() {
    with_runtime("supervise::an_element_that_dies_within_a_question_is_told_at_once", async || {
        let mut house = House::new();
        let process = house.process("silent").await;
        house.ready().await;
        let handle = house.supervisor.handle();
        let asked = tokio::spawn(async move {
            handle
                .ask("silent", LONG, |request| ringmail_node::control::ToElement::Status {
                    request,
                })
                .await
                .map(drop)
        });
        process.kill(LONG).unwrap();
        let before = Instant::now();
        assert_eq!(asked.await.unwrap(), Err(RequestError::Ended));
        assert!(before.elapsed() < LONG / 2);
        let event = house.supervisor.next_event().await;
        assert!(
            matches!(
                &event,
                Event::Ended { exit: Exit { how: How::Signal(libc::SIGKILL), .. }, .. }
            ),
            "{event:?}"
        );
    });
}

#[test]
fn an_element_that_does_not_want_to_end_is_ended() {
    with_runtime("supervise::an_element_that_does_not_want_to_end_is_ended", async || {
        let mut house = House::new();
        house.process("deaf").await;
        house.process("stubborn").await;
        house.process("good").await;
        house.ready().await;
        let mut ends = house.supervisor.stop_within(SHORT, SHORT).await.into_iter();
        let mut end = || ends.next().unwrap().1.unwrap().how;
        assert_eq!(end(), How::Signal(libc::SIGTERM));
        assert_eq!(end(), How::Done);
        assert_eq!(end(), How::Signal(libc::SIGKILL));
    });
}

#[test]
fn an_element_that_babbles_can_be_stopped() {
    with_runtime("supervise::an_element_that_babbles_can_be_stopped", async || {
        let mut house = House::new();
        let process = house.process("babbling").await;
        let first = house.supervisor.next_event().await;
        assert!(matches!(first, Event::Message { message: FromElement::LeaseRequest { .. }, .. }));
        house.supervisor.stop_within(SHORT, SHORT).await;
        assert!(!process.is_alive());
    });
}

#[test]
fn dropping_a_supervisor_kills_its_processes() {
    with_runtime("supervise::dropping_a_supervisor_kills_its_processes", async || {
        let mut house = House::new();
        let process = house.process("stubborn").await;
        house.ready().await;
        assert_eq!(house.supervisor.handle().elements()[0].2, ElementState::Ready);
        drop(house);
        process.wait_end(LONG).unwrap();
    });
}

#[test]
fn an_element_dies_with_its_parent() {
    with_privilege("supervise::an_element_dies_with_its_parent", |_| {
        let mut parent = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "supervise::parent", "--ignored", "--nocapture"])
            .env(PARENT, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
        let pid = lines
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("element ").map(|pid| pid.parse().unwrap()))
            .expect("the parent says which process it started");
        let element = ProcessId::of(pid).unwrap();
        assert!(element.is_alive());
        parent.kill().unwrap();
        parent.wait().unwrap();
        element.wait_end(LONG).unwrap();
    });
}

const PARENT: &str = "RINGMAIL_TEST_PARENT";

#[test]
#[ignore = "a role that an_element_dies_with_its_parent starts and kills"]
fn parent() {
    if std::env::var_os(PARENT).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut house = House::new();
        let element = house.process("stubborn").await;
        house.ready().await;
        writeln!(std::io::stdout(), "\nelement {}", element.pid).unwrap();
        // Until it is killed.
        std::future::pending::<()>().await;
    });
}
