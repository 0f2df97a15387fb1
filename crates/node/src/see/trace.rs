//! `ringmail trace`: what became of packets at each element of a path and of its way back.
//!
//! Elements note what passes ([`Observe::TraceStart`]). The gateway knows a packet by its flow; what it sealed it under is
//! how the next element knows it, and so on to the end of the path, where it is plain again. Nothing is added to packets.
//! Who asks the elements is another matter ([`Ask`]): the process that started them, or control over path distribution.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use ringmail_model::pathset::{Direction, Path, PathSet, Role};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin::DomainStatus;
use crate::control::{Mark, Observe, Observed, Passage, TraceFlow};
use crate::limits::TRACE_LOOKS;

/// What is to be traced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceWish {
    /// The forward path's name.
    pub path: String,
    /// The flow, as it leaves the gateway's proxy; without one a connection is opened and closed.
    pub flow: Option<TraceFlow>,
    /// How long packets of the flow are waited for; a probe ends by itself.
    pub wait_ms: u64,
}

/// What became of packets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trace {
    /// The forward path's name.
    pub path: String,
    /// The flow that was followed, as it leaves the gateway's proxy.
    pub flow: TraceFlow,
    /// How the connection fared that was opened for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// The way there and, where there is one, the way back.
    pub ways: Vec<Way>,
    /// Packets that elements had noted and that had to make room: more than 0 means that some may be missing here.
    pub overwritten: u64,
}

/// A connection that was opened for a trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// Microseconds until it stood, or until it was known that it does not.
    pub connected_us: f64,
    /// Why it does not stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Way {
    /// The path's name.
    pub path: String,
    /// `forward` or `return`.
    pub direction: String,
    /// Its elements, in order.
    pub hops: Vec<HopTrace>,
}

/// One element of a way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HopTrace {
    /// Its name.
    pub element: String,
    /// `gateway`, `hop` or `egress`.
    pub role: String,
    /// Packets of the flow that came.
    pub packets: u64,
    /// Bytes of them, as they came: plain at the end where they enter, with labels and ESP elsewhere.
    pub bytes: u64,
    /// Packets that went on.
    pub passed: u64,
    /// Packets that an attached function gave back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub given_back: u64,
    /// Packets that did not, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Why nothing is known of it: it cannot be asked, or comes behind one that cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// Microseconds inside the element, from the receipt of a packet's batch until it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inside_us: Option<Spread>,
    /// Microseconds from the element before to this one; only where both have one clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_link_us: Option<Spread>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The least, the middle and the most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// Half are at most this.
    pub median: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        Some(Spread { min, median: values[values.len() / 2], max })
    }
}

/// Whom a trace asks.
pub(crate) trait Ask {
    /// Asks an element something.
    async fn ask(&self, element: &str, question: Observe) -> Result<Observed, String>;

    /// Lets traffic pass.
    async fn wait(&self);

    /// Lets packets that are under way arrive.
    async fn settle(&self);
}

/// Where packets of a path pass: its elements in order, with their roles, and those of the path by which answers come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    forward: Vec<(String, String)>,
    back: Option<(String, Vec<(String, String)>)>,
}

impl Route {
    /// By what the elements say of themselves.
    pub(crate) fn of_status(status: &DomainStatus, path: &str) -> Result<Route, String> {
        let forward = stations(status, path, "forward");
        let back = return_path(status, path);
        let back = back.map(|back| (back.clone(), stations(status, &back, "return")));
        Route { forward, back }.known(path)
    }

    /// By a version's path set.
    pub(crate) fn of_set(set: &PathSet, path: &str) -> Result<Route, String> {
        let found = set.path_named(path).filter(|found| found.direction == Direction::Forward);
        let back = found.and_then(|found| set.path(found.return_path?));
        let forward = found.map(|found| elements(set, found)).unwrap_or_default();
        let back = back.map(|back| (back.name.clone(), elements(set, back)));
        Route { forward, back }.known(path)
    }

    fn known(self, path: &str) -> Result<Route, String> {
        match self.forward.is_empty() {
            true => Err(format!("no forward path is named `{path}`")),
            false => Ok(self),
        }
    }

    /// Each element once.
    fn elements(&self) -> Vec<&str> {
        let mut elements: Vec<&str> = Vec::new();
        let back = self.back.iter().flat_map(|(_, stations)| stations);
        for (element, _) in self.forward.iter().chain(back) {
            if !elements.contains(&element.as_str()) {
                elements.push(element);
            }
        }
        elements
    }
}

/// Runs a trace. `same_clock` says whether the elements' times can be compared. An element that cannot be asked is named
/// in the answer; only without the one at which the path begins there is none.
pub(crate) async fn run(
    wish: &TraceWish,
    route: &Route,
    same_clock: bool,
    asking: &impl Ask,
) -> Result<Trace, String> {
    let Route { forward, back } = route;
    let Some((gateway, _)) = forward.first() else { return Err("the path has no elements".into()) };
    let mut elements = route.elements();
    let back_name = back.iter().map(|(name, _)| name.clone());
    let paths: Vec<String> = std::iter::once(wish.path.clone()).chain(back_name).collect();
    let mut silent = BTreeMap::new();
    let outcome = async {
        let begin = elements.iter().map(|element| {
            // Where a flow is known, the gateway need not note others.
            let flows = wish.flow.filter(|_| element == gateway).into_iter();
            let flows = flows.flat_map(|flow| [flow, flow.reversed()]).collect();
            asking.ask(element, Observe::TraceStart { paths: paths.clone(), flows })
        });
        for (element, begun) in elements.iter().zip(join_all(begin).await) {
            match begun {
                Ok(_) => {}
                Err(why) if element == gateway => return Err(format!("{element}: {why}")),
                Err(why) => drop(silent.insert((*element).to_owned(), why)),
            }
        }
        let (flow, probe) = match wish.flow {
            Some(flow) => {
                asking.wait().await;
                (flow, None)
            }
            None => {
                let probed = asking.ask(gateway, Observe::Probe { path: wish.path.clone() });
                match probed.await? {
                    Observed::Probed { flow, connected_ns, error } => {
                        let connected_us = connected_ns as f64 / 1e3;
                        (flow, Some(Probe { connected_us, error }))
                    }
                    _ => return Err("the gateway answered another question".to_owned()),
                }
            }
        };
        let silent = &mut silent;
        let mut follow = Follow { asking, same_clock, silent, overwritten: 0 };
        let mut ways = Vec::new();
        let (hops, ends) = follow.way(forward, &[flow]).await;
        ways.push(Way { path: wish.path.clone(), direction: "forward".to_owned(), hops });
        if let Some((back, stations)) = back {
            // As the packets left the path: a function may have changed addresses.
            let flows: Vec<_> = ends.into_iter().map(TraceFlow::reversed).collect();
            let (hops, _) = follow.way(stations, &flows).await;
            ways.push(Way { path: back.clone(), direction: "return".to_owned(), hops });
        }
        let overwritten = follow.overwritten;
        Ok(Trace { path: wish.path.clone(), flow, probe, ways, overwritten })
    };
    let outcome = outcome.await;
    elements.retain(|element| !silent.contains_key(*element));
    // One that is gone notes nothing any more.
    drop(join_all(elements.iter().map(|element| asking.ask(element, Observe::TraceStop))).await);
    outcome
}

struct Follow<'a, A> {
    asking: &'a A,
    same_clock: bool,
    /// Who cannot be asked, and why.
    silent: &'a mut BTreeMap<String, String>,
    overwritten: u64,
}

impl<A: Ask> Follow<'_, A> {
    /// Follows packets that enter a way as one of these flows. Also the flows as which they left it.
    async fn way(
        &mut self,
        stations: &[(String, String)],
        flows: &[TraceFlow],
    ) -> (Vec<HopTrace>, Vec<TraceFlow>) {
        let mut hops = Vec::new();
        let mut before: Vec<Passage> = Vec::new();
        // The element behind which nothing is known.
        let mut gap: Option<&str> = None;
        for (index, (element, role)) in stations.iter().enumerate() {
            let marks: Vec<Mark> = before.iter().filter_map(|passage| passage.left).collect();
            let flows = if index == 0 { flows.to_vec() } else { Vec::new() };
            let found = match self.silent.get(element) {
                Some(why) => Err(why.clone()),
                None => self.find(element, flows, marks).await,
            };
            let unknown = |why: String| {
                let (element, role) = (element.clone(), role.clone());
                HopTrace { element, role, unknown: Some(why), ..HopTrace::default() }
            };
            let (mut passages, overwritten) = match found {
                // One that seals nothing anew passes packets on as they came: the next may know them.
                Ok((passages, _)) if passages.is_empty() && gap.is_some() => {
                    let behind = gap.unwrap_or_default();
                    hops.push(unknown(format!("what came of {behind} is not known")));
                    continue;
                }
                Ok(found) => found,
                Err(why) => {
                    self.silent.insert(element.clone(), why.clone());
                    hops.push(unknown(why));
                    gap = Some(element);
                    continue;
                }
            };
            gap = None;
            self.overwritten += overwritten;
            if index == 0 {
                // What comes out of the chain here belongs to the other way.
                passages.retain(|passage| passage.arrived.is_none());
            }
            // An attached function gives packets back that did not come over the link just now.
            let came = |passage: &&Passage| index == 0 || passage.arrived.is_some();
            let came: Vec<&Passage> = passages.iter().filter(came).collect();
            let mut hop = self.hop(element, role, &before, &came);
            hop.given_back = (passages.len() - came.len()) as u64;
            hops.push(hop);
            before = passages;
        }
        let mut ends: Vec<TraceFlow> = before.iter().filter_map(|passage| passage.flow).collect();
        ends.sort_unstable();
        ends.dedup();
        (hops, ends)
    }

    /// What an element noted. Packets that were sent to it may still be under way.
    async fn find(
        &self,
        element: &str,
        flows: Vec<TraceFlow>,
        marks: Vec<Mark>,
    ) -> Result<(Vec<Passage>, u64), String> {
        for look in 1.. {
            let question = Observe::TraceFind { flows: flows.clone(), marks: marks.clone() };
            let Observed::Passages { passages, overwritten } =
                self.asking.ask(element, question).await?
            else {
                break;
            };
            if passages.len() >= marks.len() || look == TRACE_LOOKS {
                return Ok((passages, overwritten));
            }
            self.asking.settle().await;
        }
        Err(format!("{element} answered another question"))
    }

    fn hop(
        &self,
        element: &str,
        role: &str,
        before: &[Passage],
        passages: &[&Passage],
    ) -> HopTrace {
        let us = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e3;
        let mut hop = HopTrace {
            element: element.to_owned(),
            role: role.to_owned(),
            packets: passages.len() as u64,
            bytes: passages.iter().map(|passage| u64::from(passage.bytes_in)).sum(),
            inside_us: Spread::of(passages.iter().map(|p| us(p.in_ns, p.out_ns)).collect()),
            ..HopTrace::default()
        };
        for passage in passages {
            match &passage.reason {
                Some(reason) => *hop.dropped.entry(reason.clone()).or_default() += 1,
                None => hop.passed += 1,
            }
        }
        let left: BTreeMap<Mark, u64> =
            before.iter().filter_map(|passage| Some((passage.left?, passage.out_ns))).collect();
        if self.same_clock {
            let links = passages.iter().filter_map(|passage| {
                let out_ns = left.get(&passage.arrived?)?;
                Some(us(*out_ns, passage.in_ns))
            });
            hop.on_link_us = Spread::of(links.collect());
        }
        hop
    }
}

/// The elements of a path in its order, with their roles.
fn elements(set: &PathSet, path: &Path) -> Vec<(String, String)> {
    let at = (0..).map_while(|position| path.element_at(position));
    let known = at.filter_map(|id| set.elements.iter().find(|element| element.id == id));
    let role = |role| match role {
        Role::Gateway => "gateway",
        Role::Hop => "hop",
        Role::Egress => "egress",
    };
    known.map(|element| (element.name.clone(), role(element.role).to_owned())).collect()
}

/// The same, of the elements that answer.
fn stations(status: &DomainStatus, path: &str, direction: &str) -> Vec<(String, String)> {
    let mut found: Vec<(u32, String, String)> = Vec::new();
    for element in &status.elements {
        let Some(says) = &element.status else { continue };
        for known in &says.paths {
            if known.name == path && known.direction == direction {
                found.push((known.hop, element.name.clone(), says.role.clone()));
            }
        }
    }
    found.sort_unstable();
    found.into_iter().map(|(_, element, role)| (element, role)).collect()
}

/// The name of the path by which answers come.
fn return_path(status: &DomainStatus, path: &str) -> Option<String> {
    let says = status.elements.iter().filter_map(|element| element.status.as_ref());
    let mut paths = says.flat_map(|says| &says.paths);
    paths.find(|known| known.name == path && known.direction == "forward")?.return_path.clone()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::admin::ElementReport;
    use crate::control::{ElementStatus, PathStatus};
    use ringmail_model::PathVersion;
    use ringmail_model::pathset::Issue;

    /// Three elements, of which the one in the middle seals anew and drops the second packet. One may be silent.
    #[derive(Default)]
    struct Chain(Mutex<Vec<String>>, Option<&'static str>);

    const FLOW: &str = "10.78.0.1:4000";

    fn flow() -> TraceFlow {
        let destination = "10.79.0.10:80".parse().unwrap();
        TraceFlow { source: FLOW.parse().unwrap(), destination, protocol: 6 }
    }

    fn passage(arrived: Option<(u32, u32)>, left: Option<(u32, u32)>, in_ns: u64) -> Passage {
        let mark = |(spi, sequence)| Mark { spi, sequence };
        Passage {
            flow: None,
            arrived: arrived.map(mark),
            left: left.map(mark),
            in_ns,
            out_ns: in_ns + 2_000,
            bytes_in: 100,
            bytes_out: 100,
            verdict: "sent".to_owned(),
            reason: None,
        }
    }

    impl Ask for Chain {
        async fn ask(&self, element: &str, question: Observe) -> Result<Observed, String> {
            if self.1 == Some(element) {
                return Err("it is away".to_owned());
            }
            let all = match (element, &question) {
                (_, Observe::Probe { .. }) => {
                    return Ok(Observed::Probed { flow: flow(), connected_ns: 9_000, error: None });
                }
                (_, Observe::TraceFind { flows, marks }) => {
                    let found = self.passages(element);
                    let wanted = |passage: &Passage| {
                        let given_back = element == "sf" && passage.arrived.is_none();
                        given_back
                            || passage.arrived.is_some_and(|mark| marks.contains(&mark))
                            || passage.flow.is_some_and(|flow| flows.contains(&flow))
                    };
                    found.into_iter().filter(wanted).collect()
                }
                _ => {
                    let text = format!("{question:?}");
                    let word = text.split([' ', '{']).next().unwrap_or_default();
                    self.0.lock().unwrap().push(format!("{element} {word}"));
                    return Ok(Observed::Done);
                }
            };
            Ok(Observed::Passages { passages: all, overwritten: 1 })
        }

        async fn wait(&self) {}

        async fn settle(&self) {}
    }

    impl Chain {
        fn passages(&self, element: &str) -> Vec<Passage> {
            match element {
                "gateway" => vec![
                    Passage { flow: Some(flow()), ..passage(None, Some((1, 1)), 0) },
                    Passage { flow: Some(flow()), ..passage(None, Some((1, 2)), 10_000) },
                    Passage { flow: Some(flow().reversed()), ..passage(Some((9, 9)), None, 0) },
                ],
                "sf" => vec![
                    passage(Some((1, 1)), Some((2, 7)), 5_000),
                    Passage {
                        verdict: "dropped".to_owned(),
                        reason: Some("function_drop".to_owned()),
                        ..passage(Some((1, 2)), None, 15_000)
                    },
                    passage(Some((1, 3)), Some((2, 8)), 20_000),
                    passage(None, Some((2, 9)), 21_000),
                ],
                // It knows packets as they left the gateway.
                "open" => {
                    vec![Passage { flow: Some(flow()), ..passage(Some((1, 1)), None, 8_000) }]
                }
                _ => vec![
                    Passage { flow: Some(flow()), ..passage(Some((2, 7)), None, 8_000) },
                    Passage { flow: Some(flow()), ..passage(Some((2, 8)), None, 9_000) },
                    Passage { flow: Some(flow()), ..passage(Some((2, 9)), None, 25_000) },
                ],
            }
        }
    }

    fn route() -> Route {
        Route::of_status(&status(), "p").unwrap()
    }

    fn status() -> DomainStatus {
        let element = |name: &str, hop| ElementReport {
            name: name.to_owned(),
            status: Some(ElementStatus {
                role: name.to_owned(),
                paths: vec![PathStatus {
                    name: "p".to_owned(),
                    direction: "forward".to_owned(),
                    hop,
                    ..PathStatus::default()
                }],
                ..ElementStatus::default()
            }),
            ..ElementReport::default()
        };
        let elements = vec![element("egress", 2), element("gateway", 0), element("sf", 1)];
        DomainStatus { elements, ..DomainStatus::default() }
    }

    #[tokio::test]
    async fn packets_are_followed_through_a_new_seal_and_only_theirs() {
        let wish = TraceWish { path: "p".to_owned(), flow: None, wait_ms: 0 };
        let chain = Chain::default();
        let trace = run(&wish, &route(), true, &chain).await.unwrap();
        assert_eq!((trace.flow, trace.overwritten), (flow(), 3));
        let [way] = &trace.ways[..] else { panic!("{:?}", trace.ways) };
        let told: Vec<_> =
            way.hops.iter().map(|hop| (&*hop.element, hop.packets, hop.passed)).collect();
        assert_eq!(told, [("gateway", 2, 2), ("sf", 2, 1), ("egress", 2, 2)]);
        // What its function gave back came over no link, and goes on all the same.
        assert_eq!(way.hops[1].given_back, 1);
        assert_eq!(way.hops[1].dropped, BTreeMap::from([("function_drop".to_owned(), 1)]));
        assert_eq!(way.hops[1].inside_us.unwrap().median, 2.0);
        // Sent at 2 and 12 µs, received at 5 and 15.
        let link = way.hops[1].on_link_us.unwrap();
        assert_eq!((link.min, link.max), (3.0, 3.0));
        let said = chain.0.into_inner().unwrap();
        let starts = said.iter().filter(|line| line.ends_with("TraceStart")).count();
        let stops = said.iter().filter(|line| line.ends_with("TraceStop")).count();
        assert_eq!((starts, stops), (3, 3));
    }

    #[tokio::test]
    async fn clocks_that_differ_are_not_compared_and_a_path_must_exist() {
        let wish = TraceWish { path: "p".to_owned(), flow: Some(flow()), wait_ms: 0 };
        let trace = run(&wish, &route(), false, &Chain::default()).await.unwrap();
        assert!(trace.ways[0].hops.iter().all(|hop| hop.on_link_us.is_none()));
        assert_eq!(trace.probe, None);
        let said = Route::of_status(&status(), "q").unwrap_err();
        assert_eq!(said, "no forward path is named `q`");
    }

    #[tokio::test]
    async fn who_cannot_be_asked_is_named_and_what_comes_behind_is_not_called_lost() {
        let wish = TraceWish { path: "p".to_owned(), flow: None, wait_ms: 0 };
        let told = async |route: &Route, chain: &Chain| {
            let trace = run(&wish, route, false, chain).await?;
            let hops = trace.ways.into_iter().flat_map(|way| way.hops);
            Ok::<_, String>(hops.map(|hop| (hop.packets, hop.unknown)).collect::<Vec<_>>())
        };
        let chain = Chain(Mutex::default(), Some("sf"));
        let hops = told(&route(), &chain).await.unwrap();
        let behind = "what came of sf is not known".to_owned();
        assert_eq!(hops, [(2, None), (0, Some("it is away".to_owned())), (0, Some(behind))]);
        let said = chain.0.into_inner().unwrap();
        assert!(said.iter().all(|line| !line.starts_with("sf")), "{said:?}");
        assert_eq!(said.iter().filter(|line| line.ends_with("TraceStop")).count(), 2);
        // Where nothing is sealed anew, the next element knows the packets again.
        let stations = ["gateway", "sf", "open"].map(|name| (name.to_owned(), name.to_owned()));
        let open = Route { forward: stations.to_vec(), back: None };
        let hops = told(&open, &Chain(Mutex::default(), Some("sf"))).await.unwrap();
        assert_eq!(hops, [(2, None), (0, Some("it is away".to_owned())), (1, None)]);
        // Without the gateway there is nothing to follow.
        let said = told(&route(), &Chain(Mutex::default(), Some("gateway"))).await.unwrap_err();
        assert_eq!(said, "gateway: it is away");
    }

    #[test]
    fn a_route_is_the_same_by_the_path_set() {
        let text = include_str!("../../../../examples/campus.yaml");
        let domain = ringmail_model::check::load(text, "campus.yaml").unwrap().domain;
        let issue = Issue { version: PathVersion(1), not_before_unix_s: 0, not_after_unix_s: 1 };
        let set = PathSet::compile(&domain, issue).unwrap();
        let Route { forward, back } = Route::of_set(&set, "inspected").unwrap();
        let names = |stations: &[(String, String)]| {
            stations.iter().map(|(name, role)| format!("{name} {role}")).collect::<Vec<_>>()
        };
        let there = ["gateway gateway", "sf1 hop", "sf2 hop", "egress egress"];
        assert_eq!(names(&forward), there);
        let (name, back) = back.unwrap();
        assert_eq!(name, "inspected.return");
        assert_eq!(names(&back).into_iter().rev().collect::<Vec<_>>(), there);
        for other in ["inspected.return", "nowhere"] {
            let said = Route::of_set(&set, other).unwrap_err();
            assert_eq!(said, format!("no forward path is named `{other}`"));
        }
    }
}
