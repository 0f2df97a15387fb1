//! The attacker ends an element, or cuts control off. Nobody starts anything again here: these are machines of their own.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ringmail_model::defence::Defence;

use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::client::{Client, Connection};
use crate::lab::{LOOK_EVERY, Lab, PATIENCE};
use crate::machines::{LEASE, Machines, REPLICAS, WWW};

pub(super) const CASES: &[Case] = &[
    Case {
        attack: "active-gateway-killed",
        row: Row::Availability,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::GatewayHealth])),
        expected: "new connections by the address that two gateways share are served within 3 s after the one that has it is killed",
        run: gateway_killed,
    },
    Case {
        attack: "replica-killed",
        row: Row::Availability,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::ReplicaLiveness])),
        expected: "one of two replicas is killed: connections by the other go on, and a second later every new one is served within 1 s",
        run: replica_killed,
    },
    Case {
        attack: "leases-withheld",
        row: Row::Authentication,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::LeaseEnd])),
        expected: "elements that get no leases any more pass nothing once theirs are over",
        run: leases_withheld,
    },
];

/// Within which a standby serves.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(3);

/// What never comes is waited for so long.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(8);

/// How often it is tried: a machine with other work may be late by itself.
const TRIES: u32 = 3;

fn gateway_killed(lab: &mut Lab) -> Result<Trial> {
    let machines = lab.machines()?;
    let alice = machines.alice()?;
    let mut observed = String::new();
    for _ in 0..TRIES {
        machines.whole()?;
        let active = machines.active()?;
        machines.get(&alice, "/before", PATIENCE)?;
        machines.kill(active)?;
        let begun = Instant::now();
        let mut served = false;
        while !served && begun.elapsed() < GIVEN_UP_AFTER {
            served = machines.get(&alice, "/after", Duration::from_millis(500)).is_ok();
        }
        let after = begun.elapsed();
        if !served {
            let seconds = after.as_secs_f64();
            return Ok(Trial::of(
                true,
                format!(
                    "{active} is killed, and no new connection is served within {seconds:.1} s"
                ),
            ));
        }
        let now = machines.active()?;
        ensure!(now != active, "{active} is dead and has the address");
        observed = format!(
            "{active} is killed, and {now} serves a new connection after {:.1} s",
            after.as_secs_f64()
        );
        if after <= TAKEN_OVER_WITHIN {
            return Ok(Trial::of(false, observed));
        }
    }
    Ok(Trial::of(true, observed))
}

/// Connections that are in the middle of a request.
const HELD: usize = 6;

/// New connections after the loss, within which each has to be served, and when the first of them begins.
const NEW: usize = 6;
const SERVED_WITHIN: Duration = Duration::from_secs(1);

/// A request of which half has been sent: its connection through the chain is nobody else's until the rest has come.
fn half(machines: &Machines, alice: &Client, path: &str, within: Duration) -> Result<Connection> {
    let until = Instant::now() + within;
    let mut connection = machines.connect(alice, within)?;
    connection
        .send(&format!("PUT {path} HTTP/1.1\r\nhost: {WWW}\r\ncontent-length: 8\r\n\r\nhalf"))?;
    while !machines.www.saw(path) {
        ensure!(Instant::now() < until, "it has not arrived within {within:?}");
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(connection)
}

fn replica_killed(lab: &mut Lab) -> Result<Trial> {
    let machines = lab.machines()?;
    let mut observed = String::new();
    for _ in 0..TRIES {
        machines.whole()?;
        let trial = one_of_two(machines)?;
        observed = trial.observed;
        if trial.held {
            return Ok(Trial::of(false, observed));
        }
    }
    Ok(Trial::of(true, observed))
}

fn one_of_two(machines: &mut Machines) -> Result<Trial> {
    let (alice, active) = (machines.alice()?, machines.active()?);
    let closed = |lab: &Machines| lab.counter(active, "replica_connections_closed");
    let opened = |lab: &Machines| {
        REPLICAS.iter().map(|replica| lab.counter(replica, "opened_packets")).collect()
    };
    machines.www.take();
    let (before, already): (Result<Vec<u64>>, u64) = (opened(machines), closed(machines)?);
    let held: Result<Vec<Connection>> =
        (0..HELD).map(|nth| half(machines, &alice, &format!("/held/{nth}/"), PATIENCE)).collect();
    let (mut held, before) = (held?, before?);
    let passed: Vec<u64> = (opened(machines) as Result<Vec<u64>>)?;
    ensure!(
        before.iter().zip(&passed).all(|(before, now)| now > before),
        "one replica is left out"
    );
    machines.kill(REPLICAS[0])?;
    std::thread::sleep(SERVED_WITHIN);
    let (mut new, mut slowest) = (Vec::new(), Duration::ZERO);
    for nth in 0..NEW {
        let begun = Instant::now();
        match half(machines, &alice, &format!("/new/{nth}/"), SERVED_WITHIN) {
            Ok(connection) => new.push(connection),
            Err(error) => {
                let said = format!("new connection {} of {NEW} is not served: {error:#}", nth + 1);
                return Ok(Trial::of(true, said));
            }
        }
        slowest = slowest.max(begun.elapsed());
    }
    let whole = |all: &mut Vec<Connection>| {
        let ends = all.iter_mut().map(|one| one.ask("half").is_ok_and(|status| status == 200));
        ends.filter(|whole| *whole).count()
    };
    let (new, on) = (whole(&mut new), whole(&mut held));
    let closed = closed(machines)? - already;
    let observed = format!(
        "{on} of {HELD} connections go on, those that passed the dead one, {closed}, are closed; {new} of {NEW} new ones are \
         served, the slowest begins within {:.0} ms",
        slowest.as_secs_f64() * 1e3
    );
    let undisturbed = on > 0 && on as u64 + closed >= HELD as u64;
    Ok(Trial::of(!(undisturbed && new == NEW), observed))
}

/// The cable of control is out, so that elements reach each other and not it.
fn leases_withheld(lab: &mut Lab) -> Result<Trial> {
    let machines = lab.machines()?;
    let alice = machines.alice()?;
    machines.get(&alice, "/with-leases", PATIENCE)?;
    machines.cable("control", "down")?;
    machines.get(&alice, "/without-control", PATIENCE)?;
    // The last lease is not older than the cut.
    std::thread::sleep(LEASE + Duration::from_secs(1));
    machines.www.take();
    let answer = machines.get(&alice, "/after-the-leases", Duration::from_secs(2));
    let arrived = machines.www.saw("/after-the-leases");
    Ok(Trial::of(
        arrived,
        match answer {
            Ok(_) => "a request is served after the leases ended".to_owned(),
            Err(error) => format!("after the leases ended a request is not served: {error:#}"),
        },
    ))
}
