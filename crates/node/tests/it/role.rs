//! Elements that behave as a test wants them to: this program, started again.

use std::path::PathBuf;
use std::time::Duration;

use ringmail_node::control::{
    Blob, ControlChannel, Counter, ElementStatus, FromElement, KeyExport, Secret, ToElement,
};
use ringmail_node::supervise::{Body, Conductor, Program};

const ROLE: &str = "RINGMAIL_TEST_ROLE";

/// A program that plays this role.
pub(crate) fn program(role: &str) -> Program {
    Program {
        path: std::env::current_exe().unwrap(),
        args: ["--exact", "role::element", "--ignored", "--nocapture"].map(Into::into).into(),
        environment: vec![(ROLE.into(), role.into())],
    }
}

/// The same role as a thread.
pub(crate) fn thread(role: &'static str) -> Body {
    Body::Thread(Box::new(move |control| {
        Box::pin(async move { play(role, control).await.map_err(Into::into) })
    }))
}

/// The program that is not there.
pub(crate) fn missing() -> Program {
    Program { path: PathBuf::from("/no/such/program"), ..program("good") }
}

/// Gives a certificate to whoever asks.
pub(crate) struct TestConductor;

impl Conductor for TestConductor {
    fn answer(
        &mut self,
        element: &str,
        message: FromElement,
    ) -> Result<Vec<ToElement>, Box<dyn std::error::Error + Send + Sync>> {
        match message {
            FromElement::Hello { csr } if csr.0.is_empty() => Err("an empty request".into()),
            FromElement::Hello { .. } => Ok(vec![ToElement::Identity {
                certificate_chain: vec![Blob(element.as_bytes().to_vec())],
                trust_anchors: Vec::new(),
                crls: Vec::new(),
            }]),
            FromElement::LeaseRequest { .. } => {
                Ok(vec![ToElement::Lease { signed: Blob(vec![1]) }])
            }
            other => Err(format!("{other:?}").into()),
        }
    }
}

#[test]
#[ignore = "a role that other tests start as a process"]
fn element() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let number = std::env::args().next_back().unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result =
        runtime.block_on(async { play(&role, ControlChannel::inherited(number).unwrap()).await });
    std::process::exit(i32::from(result.is_err()) * 3);
}

async fn play(role: &str, mut control: ControlChannel) -> Result<(), std::io::Error> {
    match role {
        "failing" => {
            let error = std::io::Error::other("no TUN");
            control.send(&FromElement::failed(&error)).await.unwrap();
            return Err(error);
        }
        "crashing" => {
            eprintln!("about to crash");
            rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::ABORT,
            )?;
        }
        "leaving" => {
            eprintln!("a child stays");
            // It ends by itself, after whoever is started here.
            std::process::Command::new("sleep").arg("5").spawn()?;
            rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::ABORT,
            )?;
        }
        "panicking" => panic!("on purpose"),
        "babbling" => loop {
            if control.send(&FromElement::LeaseRequest { digest: Blob(Vec::new()) }).await.is_err()
            {
                return Ok(());
            }
        },
        _ => {}
    }
    let csr = if role == "empty" { Vec::new() } else { vec![7; 3] };
    control.send(&FromElement::Hello { csr: Blob(csr) }).await.unwrap();
    if role == "stubborn" {
        // SAFETY: ignoring a signal runs no code of ours.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    }
    while let Some(message) = control.recv().await.unwrap() {
        match (message, role) {
            (ToElement::Shutdown { .. }, "deaf" | "stubborn") => {}
            (ToElement::Shutdown { .. }, _) => return Ok(()),
            (ToElement::Identity { .. }, "slow") => {}
            (ToElement::Identity { .. }, _) => control.send(&FromElement::Ready).await.unwrap(),
            (ToElement::Status { .. }, "silent") => {}
            (ToElement::Status { request }, _) => {
                let status = status();
                control.send(&FromElement::Status { request, status }).await.unwrap();
            }
            (ToElement::ExportKeys { request }, "silent") => {
                let reason = "not from me".to_owned();
                control.send(&FromElement::Refused { request, reason }).await.unwrap();
            }
            (ToElement::ExportKeys { request }, _) => {
                control.send(&FromElement::Keys { request, keys: vec![key()] }).await.unwrap();
            }
            (other, _) => panic!("{other:?}"),
        }
    }
    if role == "stubborn" {
        // Its parent is gone; that alone must end it.
        std::thread::sleep(Duration::from_secs(600));
    }
    Ok(())
}

/// What every role counts: the addresses that it finds, which tell in which namespace it is.
pub(crate) fn status() -> ElementStatus {
    let inode = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let counter = Counter { name: inode.display().to_string(), ..Counter::default() };
    ElementStatus { role: "hop".into(), counters: vec![counter], ..ElementStatus::default() }
}

fn key() -> KeyExport {
    KeyExport {
        path: "web".into(),
        source: "10.99.0.1".parse().unwrap(),
        destination: "10.99.0.2".parse().unwrap(),
        sa_spi: 256,
        suite: "aes-128-gcm".into(),
        key_and_salt: Secret::new(vec![1; 20]),
    }
}
