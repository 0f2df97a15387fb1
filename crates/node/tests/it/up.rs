//! A whole domain: up, asked, and down, with nothing left.

use std::time::Duration;

use ringmail_node::admin::{Client, SOCKET_FILE};
use ringmail_node::runtime::RuntimeError;
use ringmail_node::supervise::{Body, LineSink, StartError};
use ringmail_node::topology::Privilege;
use ringmail_node::up::{Plan, PlannedElement, Up, UpError};

use crate::network::names;
use crate::role::{TestConductor, program, thread};
use crate::world::{Base, campus, domain, with_privilege};

const LONG: Duration = Duration::from_secs(20);

fn plan(domain: &str, roles: &[(&str, &'static str)]) -> Plan {
    let element = |(namespace, role): &(&str, &'static str)| PlannedElement {
        name: (*namespace).to_owned(),
        namespace: (*namespace).to_owned(),
        // One thread among the processes.
        body: if *namespace == "hop1" { thread(role) } else { Body::Process(program(role)) },
    };
    Plan {
        topology: campus(domain),
        elements: roles.iter().map(element).collect(),
        changer: None,
        issuer: None,
        conductor: Box::new(TestConductor),
        layout: "processes",
    }
}

async fn start(base: &Base, privilege: Privilege, plan: Plan) -> Result<Up, UpError> {
    Up::start(plan, &base.place(), privilege, LineSink::default()).await
}

fn with_runtime(test: &str, body: impl AsyncFnOnce(Privilege)) {
    with_privilege(test, |privilege| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(body(privilege));
    });
}

#[test]
fn a_domain_comes_up_tells_of_itself_and_goes_down_when_asked() {
    let name = "up::a_domain_comes_up_tells_of_itself_and_goes_down_when_asked";
    with_runtime(name, async |privilege| {
        let (base, domain) = (Base::new(), domain());
        let roles = [("gateway", "good"), ("hop1", "silent"), ("hop2", "good"), ("egress", "good")];
        let mut up = start(&base, privilege, plan(&domain, &roles)).await.unwrap();
        let socket = up.dir().join(SOCKET_FILE);
        let asking = tokio::spawn(async move {
            let mut client = Client::connect(&socket).await.unwrap();
            let status = client.status().await.unwrap();
            let refused = client.danger_export_keys().await.unwrap_err();
            client.down().await.unwrap();
            (status, refused)
        });
        tokio::time::timeout(LONG, up.run()).await.unwrap().unwrap();
        let (status, refused) = asking.await.unwrap();
        assert_eq!(status.domain, domain);
        assert_eq!(status.rootless, privilege != Privilege::Root);
        assert_eq!(status.namespaces.len(), 8);
        let of = |name: &str| status.elements.iter().find(|element| element.name == name).unwrap();
        assert_eq!(of("gateway").status.as_ref().unwrap().role, "hop");
        assert!(of("hop1").reason.as_ref().unwrap().contains("does not answer"), "{status:?}");
        assert_eq!(
            refused.to_string(),
            "the domain refuses: element hop1: it refuses: not from me"
        );

        let again = start(&base, privilege, plan(&domain, &roles)).await;
        assert!(matches!(again, Err(UpError::Runtime(RuntimeError::Busy { .. }))), "{again:?}");
        let ends = up.stop().await.unwrap();
        assert_eq!(ends.len(), 4);
        assert_eq!(names(&domain), 0);
        assert!(!base.0.exists());
    });
}

#[test]
fn nothing_is_left_of_a_domain_whose_element_does_not_start() {
    let name = "up::nothing_is_left_of_a_domain_whose_element_does_not_start";
    with_runtime(name, async |privilege| {
        let (base, domain) = (Base::new(), domain());
        let roles = [("gateway", "stubborn"), ("egress", "failing")];
        let failed = start(&base, privilege, plan(&domain, &roles)).await;
        assert!(
            matches!(&failed, Err(UpError::Start(StartError::Ended { element, .. })) if element == "egress"),
            "{failed:?}"
        );
        assert_eq!(names(&domain), 0);
        assert!(!base.0.exists());
    });
}

#[test]
fn an_element_that_dies_is_started_again_and_the_rest_goes_on() {
    let name = "up::an_element_that_dies_is_started_again_and_the_rest_goes_on";
    with_runtime(name, async |privilege| {
        let (base, domain) = (Base::new(), domain());
        let roles = [("gateway", "good"), ("egress", "good")];
        let mut up = start(&base, privilege, plan(&domain, &roles)).await.unwrap();
        let held = up.claim().record().processes.clone();
        let egress = held.iter().find(|held| held.name == "egress").unwrap();
        egress.process.kill(LONG).unwrap();
        let handle = up.handle();
        let again = async {
            while handle.restarts("egress") == 0 || handle.status("egress").await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            ended = up.run() => panic!("{ended:?}"),
            () = again => {}
        }
        let held = up.claim().record().processes.clone();
        assert_eq!(held.iter().filter(|held| held.name == "egress").count(), 1);
        assert!(up.handle().status("gateway").await.is_ok());
        up.stop().await.unwrap();
    });
}

#[test]
fn nothing_is_left_of_a_start_that_is_interrupted() {
    let name = "up::nothing_is_left_of_a_start_that_is_interrupted";
    with_runtime(name, async |privilege| {
        let (base, domain) = (Base::new(), domain());
        let starting =
            start(&base, privilege, plan(&domain, &[("gateway", "slow"), ("hop2", "good")]));
        let interrupted = tokio::time::timeout(Duration::from_secs(1), starting).await;
        assert!(interrupted.is_err(), "it became ready");
        assert_eq!(names(&domain), 0);
        assert!(!base.0.exists());
    });
}
