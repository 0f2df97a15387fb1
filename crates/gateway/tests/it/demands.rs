//! What rules ask beyond whose certificate it is: its issuer and age, hours, rates, and what a decision point says.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ringmail_gateway::{DecisionPoint, DecisionTrust, Limits, Policy, Services};
use ringmail_model::pathset::Issue;
use ringmail_model::{PathSet, PathVersion, RuleSet};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use crate::backend::{Backend, read_head, say};
use crate::pki::WWW;
use crate::world::{DOMAIN, PATIENCE, World, get, pki};

const ALICE: &str = "spiffe://campus.example/client/alice";

/// The domain of the tests with these rules and decision points instead of its own rules.
fn policy(version: u64, rules: &str, trust: Option<DecisionTrust>) -> Arc<Policy> {
    let (before, _) = DOMAIN.split_once("\nrules:\n").expect("rules");
    let text = format!("{before}\nrules:\n{rules}");
    let loaded =
        ringmail_model::check::load(&text, "domain.yaml").unwrap_or_else(|d| panic!("{d}"));
    let domain = loaded.domain;
    let version = PathVersion(version);
    let issue = Issue { version, not_before_unix_s: 0, not_after_unix_s: u64::MAX };
    let set = PathSet::compile(&domain, issue).expect("a path set");
    let rules = RuleSet::compile(&domain, &set).expect("rules");
    let mut trust = trust;
    let points = domain.decision_points.iter().map(|described| {
        let point = DecisionPoint::new(described, trust.take()).expect("a decision point");
        (described.name.to_string(), Arc::new(point))
    });
    let decision_points = points.collect();
    Arc::new(Policy { version, rules, services: Services::default(), decision_points })
}

/// A world whose only rules are these.
async fn world(rules: &str) -> (World, Backend) {
    let backend = Backend::echo().await;
    let world = World::new(&backend);
    world.policy.store(policy(2, rules, None));
    (world, backend)
}

async fn asks(world: &World) -> (u16, String) {
    world.raw().await.ask(&get("/open/")).await
}

fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

#[tokio::test]
async fn issuer_and_age_of_the_certificate_decide() {
    // The test's certificates are good since 1975.
    let age = now_unix_s() - 157_766_400;
    for (condition, expected) in [
        ("issuers: ['CN=campus CA']", 200),
        ("issuers: ['CN=another CA']", 403),
        ("spiffe_ids: ['spiffe://campus.example/client/*']", 200),
        ("spiffe_ids: ['spiffe://campus.example/staff/**']", 403),
        ("max_age_s: 86400", 403),
    ] {
        let rule =
            format!("  - name: r\n    when: {{certificate: {{{condition}}}}}\n    path: plain\n");
        let (world, _backend) = world(&rule).await;
        let (status, answer) = asks(&world).await;
        assert_eq!(status, expected, "{condition} at an age of {age}: {answer}");
        let refused = world.counters.refused_by_certificate.get();
        assert_eq!(refused, u64::from(expected == 403));
        assert_eq!(world.counters.refused_by_rules.get(), 0);
    }
}

#[tokio::test]
async fn hours_decide_by_the_clock_of_the_machine() {
    // Hours that hold now, in an offset that makes it noon; and those that hold twelve hours later.
    let day_s = now_unix_s() % 86_400;
    let offset_min = i64::try_from(720 - day_s / 60).expect("a small number");
    let zone = |minutes: i64| {
        let sign = if minutes < 0 { '-' } else { '+' };
        format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
    };
    let rule = |zone: &str| {
        format!(
            "  - name: r\n    when: {{times: [{{from: \"06:00\", to: \"18:00\", zone: \"{zone}\"}}]}}\n    path: plain\n"
        )
    };
    let (world, _backend) = world(&rule(&zone(offset_min))).await;
    assert_eq!(asks(&world).await.0, 200);
    let midnight = if offset_min > 0 { offset_min - 720 } else { offset_min + 720 };
    world.policy.store(policy(3, &rule(&zone(midnight)), None));
    let (status, answer) = asks(&world).await;
    assert_eq!((status, world.counters.refused_by_time.get()), (403, 1), "{answer}");
}

#[tokio::test]
async fn a_client_faster_than_its_rate_is_told_when_to_come_again_and_others_do_not_notice() {
    let rules = "  - name: slow\n    when: {clients: [alice, bob]}\n    rate: {most: 2, per: hour}\n    path: plain\n";
    let (world, _backend) = world(rules).await;
    assert_eq!(asks(&world).await.0, 200);
    assert_eq!(asks(&world).await.0, 200);
    let (status, answer) = asks(&world).await;
    assert_eq!(status, 429, "{answer}");
    let after = answer.lines().find_map(|line| line.strip_prefix("retry-after: "));
    let after: u64 = after.expect("Retry-After").parse().expect("seconds");
    assert!((1_700..=1_800).contains(&after), "{after}");
    assert_eq!(world.counters.refused_by_rate.get(), 1);
    // The same identity with another certificate is the same client.
    let mut again = world.raw_as(&pki().alice_again).await;
    assert_eq!(again.ask(&get("/open/")).await.0, 429);
    let mut bob = world.raw_as(&pki().bob).await;
    assert_eq!(bob.ask(&get("/open/")).await.0, 200);
    // Other rules of the same name do not bring new tokens; a rule without a rate asks for none.
    world.policy.store(policy(3, rules, None));
    assert_eq!(asks(&world).await.0, 429);
    world.policy.store(policy(4, "  - name: slow\n    path: plain\n", None));
    assert_eq!(asks(&world).await.0, 200);
    assert_eq!(world.counters.requests_allowed.get(), 4);
}

#[tokio::test]
async fn each_stream_of_a_connection_takes_a_token() {
    let rules = "  - name: slow\n    rate: {most: 3, per: hour}\n    path: plain\n";
    let (world, _backend) = world(rules).await;
    let mut h2 = world.h2().await;
    let mut seen = Vec::new();
    for _ in 0..5 {
        let request = Request::get(format!("https://{WWW}/open/"));
        let answer = h2.send(request.body(Full::default().boxed()).unwrap()).await.unwrap();
        seen.push(answer.status().as_u16());
    }
    assert_eq!(seen, [200, 200, 200, 429, 429]);
}

/// A decision point on loopback that answers by a function, and remembers what it was asked.
struct Point {
    port: u16,
    asked: Arc<Mutex<Vec<Value>>>,
    connections: Arc<AtomicUsize>,
}

impl Point {
    async fn new(answer: impl Fn(&Value) -> (u16, String) + Send + Sync + 'static) -> Point {
        Point::with(None, answer).await
    }

    async fn with(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(&Value) -> (u16, String) + Send + Sync + 'static,
    ) -> Point {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, connections) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::default());
        let point =
            Point { port, asked: Arc::clone(&asked), connections: Arc::clone(&connections) };
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (answer, asked, tls) = (Arc::clone(&answer), Arc::clone(&asked), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => decide(tcp, &*answer, &asked).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(tcp).await {
                                decide(stream, &*answer, &asked).await;
                            }
                        }
                    }
                });
            }
        });
        point
    }

    /// A rule that asks it.
    fn rules(&self, scheme: &str, more: &str) -> String {
        let port = self.port;
        format!(
            "  - name: asked\n    ask: opa\n    path: plain\ndecision_points:\n  - name: opa\n    url: {scheme}://127.0.0.1:{port}/v1/data/campus/allow\n{more}"
        )
    }

    fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }
}

/// Serves one connection as OPA serves its data API.
async fn decide(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &(dyn Fn(&Value) -> (u16, String) + Send + Sync),
    asked: &Mutex<Vec<Value>>,
) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
        let (head, body) = request.into_parts();
        assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/v1/data/campus/allow"));
        assert_eq!(head.headers["content-type"], "application/json");
        let body = body.collect().await.expect("a question").to_bytes();
        let question: Value = serde_json::from_slice(&body).expect("JSON");
        let (code, text) = answer(&question["input"]);
        asked.lock().unwrap().push(question["input"].clone());
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = StatusCode::from_u16(code).expect("a status");
        Ok::<_, std::convert::Infallible>(response)
    });
    let http = hyper::server::conn::http1::Builder::new();
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

fn yes(_: &Value) -> (u16, String) {
    (200, r#"{"result": true}"#.to_owned())
}

#[tokio::test]
async fn a_decision_point_is_asked_for_every_request_and_its_no_counts() {
    let by_path = |input: &Value| {
        let allow = input["request"]["segments"] == json!(["open", "a"]);
        (200, json!({"result": {"allow": allow, "reason": "only a"}}).to_string())
    };
    let point = Point::new(by_path).await;
    let (world, backend) = world(&point.rules("http", "    headers: [x-role]\n")).await;
    let ask = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: {WWW}\r\nX-Role: clerk\r\nCookie: secret\r\nConnection: close\r\n\r\n"
        )
    };
    assert_eq!(world.raw().await.ask(&ask("/open/%61?q=secret")).await.0, 200);
    let (status, answer) = world.raw().await.ask(&ask("/open/b")).await;
    assert_eq!(status, 403, "{answer}");
    assert!(!answer.contains("only a"), "a reason is for the log, not for who is refused");
    assert_eq!((world.counters.refused_by_decision.get(), backend.accepted()), (1, 1));
    assert_eq!(world.counters.decisions_asked.get(), 2);
    let asked = point.asked();
    let input = &asked[0];
    assert_eq!(input["client"]["identity"], ALICE);
    assert_eq!(input["client"]["names"], json!([ALICE]));
    assert_eq!(input["client"]["certificate"]["issuer"], "CN=campus CA");
    assert_eq!((&input["source"], &input["protocol"]), (&"127.0.0.1".into(), &"http".into()));
    assert_eq!(input["server_name"], WWW);
    assert_eq!(input["chain"], json!({"rule": "asked", "path": "plain", "service": "www"}));
    let request = &input["request"];
    assert_eq!((&request["method"], &request["path"]), (&"GET".into(), &"/open/a".into()));
    assert_eq!(
        (&request["host"], &request["headers"]),
        (&WWW.into(), &json!({"x-role": ["clerk"]}))
    );
    assert!(!input.to_string().contains("secret"), "{input}");
    // One connection carried both questions, and carries those of HTTP/2 as well.
    assert_eq!(point.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn without_an_answer_the_answer_is_no_unless_the_domain_says_yes() {
    let answering = |code, text: &'static str| Point::new(move |_| (code, text.to_owned()));
    let silent = Backend::raw(|tcp, _| async move {
        let _open = tcp;
        std::future::pending::<()>().await;
    })
    .await;
    let point = |port| Point { port, asked: Arc::default(), connections: Arc::default() };
    for (point, timeout_ms) in [
        (answering(500, r#"{"result": true}"#).await, 60_000),
        (answering(200, "nonsense").await, 60_000),
        (point(silent.address.port()), 20),
        // Nobody listens there.
        (point(1), 60_000),
    ] {
        let timeout = format!("    timeout_ms: {timeout_ms}\n");
        let (world, backend) = world(&point.rules("http", &timeout)).await;
        let (status, said) = asks(&world).await;
        assert_eq!(status, 503, "{said}");
        assert_eq!((world.counters.refused_undecided.get(), backend.accepted()), (1, 0));
        assert_eq!(world.counters.decisions_failed.get(), 1);
        let open = format!("{timeout}    on_failure: allow\n");
        world.policy.store(policy(3, &point.rules("http", &open), None));
        assert_eq!(asks(&world).await.0, 200);
        assert_eq!(world.counters.decisions_failed_open.get(), 1);
    }
}

/// A point that closes a connection when it is used again, as one does whose time for idle ones is just over.
#[tokio::test]
async fn a_connection_that_ends_when_it_is_used_again_is_made_anew() {
    let answered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&answered);
    let backend = Backend::raw(move |mut tcp, _| {
        let count = Arc::clone(&count);
        async move {
            let Some(head) = read_head(&mut tcp).await else { return };
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.expect("a length").trim().parse().expect("a number")];
            tcp.read_exact(&mut body).await.expect("the question");
            count.fetch_add(1, Ordering::SeqCst);
            say(&mut tcp, "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{\"result\": true}").await;
            // The next question is taken, and never answered.
            let _ = read_head(&mut tcp).await;
        }
    })
    .await;
    let port = backend.address.port();
    let point = Point { port, asked: Arc::default(), connections: Arc::default() };
    let (world, _service) = world(&point.rules("http", "    timeout_ms: 20000\n")).await;
    for n in 1..=3 {
        assert_eq!(asks(&world).await.0, 200, "{n}");
    }
    assert_eq!((answered.load(Ordering::SeqCst), backend.accepted()), (3, 3));
}

#[tokio::test]
async fn answers_are_kept_only_where_the_domain_says_so_and_only_for_the_same_question() {
    let point = Point::new(yes).await;
    let rules = point.rules("http", "    cache: {keep_ms: 3600000, entries: 8}\n");
    let (world, _backend) = world(&rules).await;
    for _ in 0..3 {
        assert_eq!(asks(&world).await.0, 200);
    }
    assert_eq!((point.asked().len(), world.counters.decisions_from_cache.get()), (1, 2));
    assert_eq!(world.raw().await.ask(&get("/open/other")).await.0, 200);
    assert_eq!(world.raw_as(&pki().alice_again).await.ask(&get("/open/")).await.0, 200);
    assert_eq!(point.asked().len(), 3, "another path, another certificate");
    // Another version of the domain begins without.
    world.policy.store(policy(3, &rules, None));
    assert_eq!(asks(&world).await.0, 200);
    assert_eq!(point.asked().len(), 4);
    world.policy.store(policy(4, &point.rules("http", ""), None));
    for _ in 0..2 {
        assert_eq!(asks(&world).await.0, 200);
    }
    assert_eq!(point.asked().len(), 6, "asked every time");
}

#[tokio::test]
async fn over_tls_only_who_has_the_right_certificate_is_believed() {
    let pki = pki();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = |pair: &crate::pki::Pair| {
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = builder.with_no_client_auth();
        let config = config.with_single_cert(vec![pair.cert.clone()], pair.key()).unwrap();
        Some(TlsAcceptor::from(Arc::new(config)))
    };
    let trust = || Some(DecisionTrust { anchors: (*pki.roots).clone(), own: None });
    // The site's certificate stands for 127.0.0.1, the other's does not.
    for (pair, expected) in [(&pki.www, 200), (&pki.other, 503)] {
        let point = Point::with(server(pair), yes).await;
        let backend = Backend::echo().await;
        let world = World::new(&backend);
        let rules = point.rules("https", "    ca: ca.pem\n");
        world.policy.store(policy(2, &rules, trust()));
        let (status, answer) = asks(&world).await;
        assert_eq!(status, expected, "{answer}");
        assert_eq!(point.asked().len(), usize::from(expected == 200));
    }
}

#[tokio::test]
async fn a_unix_socket_will_do() {
    let folder = std::env::temp_dir().join(format!("ringmail-opa-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("opa.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let asked = Arc::<Mutex<Vec<Value>>>::default();
    let remembered = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let asked = Arc::clone(&remembered);
            tokio::spawn(async move { decide(stream, &yes, &asked).await });
        }
    });
    let rules = format!(
        "  - name: asked\n    ask: opa\n    path: plain\ndecision_points:\n  - name: opa\n    url: http://opa/v1/data/campus/allow\n    address: unix:{}\n",
        path.display()
    );
    let (world, _backend) = world(&rules).await;
    assert_eq!(asks(&world).await.0, 200);
    assert_eq!(asked.lock().unwrap().len(), 1);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Connections that pass unread are asked about once, with the same demands.
#[tokio::test]
async fn connections_of_listeners_of_kind_tls_meet_the_same_demands() {
    let by_protocol = |input: &Value| {
        assert!(input["request"].is_null());
        (200, json!({"result": input["protocol"] == "redis"}).to_string())
    };
    let point = Point::new(by_protocol).await;
    let backend = Backend::raw(|mut tcp, _| async move {
        let _ = tcp.read(&mut [0; 64]).await;
        say(&mut tcp, "served").await;
    })
    .await;
    let world = World::passing(&backend, Limits::default());
    let port = point.port;
    let rules = format!(
        "  - name: asked\n    when: {{protocols: [redis, ssh]}}\n    rate: {{most: 3, per: hour}}\n    ask: opa\n    path: plain\ndecision_points:\n  - name: opa\n    url: http://127.0.0.1:{port}/v1/data/campus/allow\n"
    );
    world.policy.store(policy(2, &rules, None));
    let ask = async |first: &str| {
        let mut tls = world.tls(Some(&pki().alice), WWW, &[]).await.expect("a handshake");
        tls.write_all(first.as_bytes()).await.expect("it takes them");
        let mut said = Vec::new();
        let read = tokio::time::timeout(PATIENCE, tls.read_to_end(&mut said)).await;
        read.expect("it ends")
            .map_or(String::new(), |_| String::from_utf8_lossy(&said).into_owned())
    };
    let (redis, ssh) = ("*1\r\n$4\r\nPING\r\n", "SSH-2.0-x\r\n");
    assert_eq!(ask(redis).await, "served");
    assert_eq!(ask(ssh).await, "");
    assert_eq!(world.counters.passed_refused_by_decision.get(), 1);
    assert_eq!(ask(redis).await, "served");
    assert_eq!(ask(redis).await, "", "the third token went to ssh");
    assert_eq!(world.counters.passed_refused_by_rate.get(), 1);
    assert_eq!(point.asked().len(), 3, "who is too fast is not asked about");
    assert_eq!(point.asked()[0]["chain"]["rule"], "asked");
}

/// Of a request that is refused the log says by which rule and why, with the decision point's own words.
#[tokio::test]
async fn the_log_says_why() {
    let no =
        |_: &Value| (200, json!({"result": {"allow": false, "reason": "not today"}}).to_string());
    let point = Point::new(no).await;
    let log = crate::access::Log::new("why");
    let backend = Backend::echo().await;
    let mut world = World::logged(&backend, Limits::default(), log.1.sink("web"));
    world.policy.store(policy(2, &point.rules("http", ""), None));
    assert_eq!(asks(&world).await.0, 403);
    let slow = "  - name: slow\n    rate: {most: 1, per: hour}\n    path: plain\n";
    world.policy.store(policy(3, slow, None));
    assert_eq!((asks(&world).await.0, asks(&world).await.0), (200, 429));
    let old = "  - name: old\n    when: {certificate: {max_age_s: 1}}\n    path: plain\n";
    world.policy.store(policy(4, old, None));
    assert_eq!(asks(&world).await.0, 403);
    world.stop();
    world.stopped().await;
    let lines = log.lines();
    let said = |line: &Value| {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        (text("decision"), text("rule"), text("reason"), text("detail"))
    };
    let line = |a: &str, b: &str, c: &str, d: &str| (a.into(), b.into(), c.into(), d.into());
    assert_eq!(
        said(&lines[0]),
        line("refused", "asked", "the policy does not allow this request", "not today")
    );
    assert_eq!(said(&lines[1]), line("allowed", "slow", "", ""));
    assert_eq!(said(&lines[2]), line("refused", "slow", "too many requests", ""));
    let certificate = "no rule allows this request with this certificate";
    assert_eq!(said(&lines[3]), line("refused", "", certificate, ""));
}
