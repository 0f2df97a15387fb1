//! Many connections that are meant to leave none for others.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ringmail_model::defence::Defence;

use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::client::Connection;
use crate::domain;
use crate::lab::Lab;

pub(super) const CASES: &[Case] = &[
    Case {
        attack: "slow-loris",
        row: Row::Availability,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::HeaderTime])),
        expected: "a client whose requests never end loses its connections, and others are served meanwhile",
        run: slow_loris,
    },
    Case {
        attack: "handshake-flood",
        row: Row::Availability,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::HandshakeTime])),
        expected: "connections that never finish their handshake take the place of others for a moment only",
        run: handshakes,
    },
    Case {
        attack: "handshake-flood-from-one-address",
        row: Row::Availability,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::AddressHandshakes])),
        expected: "who never finishes his handshakes keeps nobody else from theirs",
        run: handshakes_of_one,
    },
    Case {
        attack: "all-places-taken-by-one-client",
        row: Row::Availability,
        claimed: Claimed::Always,
        given: &[],
        switch: Some(Switch::Off(&[Defence::ClientConnections])),
        expected: "one client cannot hold so many connections that others get none",
        run: all_places,
    },
];

/// What `connections`, `connections_a_client` and `handshakes_an_address` of the domain are.
const PLACES: usize = 48;
const PLACES_A_CLIENT: usize = 32;
const HANDSHAKES_AN_ADDRESS: usize = 24;

/// How long a repelled flood may go on to be felt: far longer than the gateway's patience, which is 1.5 s.
const FELT_FOR: Duration = Duration::from_secs(6);

fn slow_loris(lab: &mut Lab) -> Result<Trial> {
    let (mallory, alice) = (lab.client("mallory")?, lab.client("alice")?);
    lab.control(&mallory, "/public/page")?;
    let mut slow = Vec::new();
    for _ in 0..PLACES_A_CLIENT {
        let mut connection = lab.connect(&mallory)?;
        connection.send("GET /public/slow HTTP/1.1\r\nhost: www.attack.example\r\nx-drip: ")?;
        slow.push(connection);
    }
    let meanwhile = lab.get(&alice, "/meanwhile")?;
    ensure!(meanwhile == 200, "meanwhile another client gets {meanwhile}");
    let until = Instant::now() + FELT_FOR;
    while !slow.is_empty() && Instant::now() < until {
        let drips = |connection: &mut Connection| -> Result<bool> {
            Ok(connection.send("x").is_ok() && !connection.closes(Duration::from_millis(1))?)
        };
        let mut still = Vec::new();
        for mut connection in slow {
            if drips(&mut connection)? {
                still.push(connection);
            }
        }
        slow = still;
        std::thread::sleep(Duration::from_millis(100));
    }
    let cut = lab.counter("gateway", "slow_headers")?;
    let left = slow.len();
    Ok(Trial::of(
        left > 0,
        format!("{left} of {PLACES_A_CLIENT} slow requests go on; the gateway counts {cut} cut"),
    ))
}

/// Connections from some clients' places whose handshake begins and never goes on.
fn silent(lab: &Lab, from: &[&str], each: usize) -> Result<Vec<TcpStream>> {
    let mut all = Vec::new();
    for at in from.iter().flat_map(|at| std::iter::repeat_n(*at, each)) {
        let mut stream = lab.knock(at)?;
        // The beginning of a handshake record. The gateway may have closed already.
        let _closed = stream.write_all(&[22, 3, 1]);
        all.push(stream);
    }
    Ok(all)
}

/// From so many addresses that all places are taken.
fn handshakes(lab: &mut Lab) -> Result<Trial> {
    let alice = lab.client("alice")?;
    lab.control(&alice, "/")?;
    let mut inside = lab.connect(&alice)?;
    ensure!(inside.get(domain::WWW, "/")? == 200, "an honest request is not served");
    let silent = silent(lab, &["mallory", "bob"], HANDSHAKES_AN_ADDRESS)?;
    let status = inside.get(domain::WWW, "/already-in")?;
    ensure!(status == 200, "a client who is in already gets {status}");
    let (begun, until) = (Instant::now(), Instant::now() + FELT_FOR);
    let mut served = false;
    while !served && Instant::now() < until {
        served = lab.get(&alice, "/during-the-flood").is_ok_and(|status| status == 200);
        if !served {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    let after = begun.elapsed().as_secs_f64();
    let observed = match served {
        true => format!("a new client is served after {after:.1} s, one who was in at once"),
        false => format!("no new client is served within {after:.1} s"),
    };
    drop(silent);
    Ok(Trial::of(!served, observed))
}

/// From one address, as many as there are places.
fn handshakes_of_one(lab: &mut Lab) -> Result<Trial> {
    let alice = lab.client("alice")?;
    lab.control(&alice, "/")?;
    let silent = silent(lab, &["mallory"], PLACES)?;
    let served = lab.get(&alice, "/beside-it").is_ok_and(|status| status == 200);
    let refused = lab.counter("gateway", "refused_handshakes_address")?;
    drop(silent);
    let what = if served { "served at once" } else { "not served" };
    Ok(Trial::of(
        !served,
        format!("a client elsewhere is {what}; the gateway counts {refused} refused"),
    ))
}

fn all_places(lab: &mut Lab) -> Result<Trial> {
    let (mallory, alice) = (lab.client("mallory")?, lab.client("alice")?);
    lab.control(&mallory, "/public/page")?;
    let mut held: Vec<Connection> = Vec::new();
    for _ in 0..PLACES + 8 {
        let Ok(mut connection) = lab.connect(&mallory) else { continue };
        if connection.get(domain::WWW, "/public/page").is_ok_and(|status| status == 200) {
            held.push(connection);
        }
    }
    let status = lab.get(&alice, "/beside-it");
    let refused = lab.counter("gateway", "refused_per_client")?;
    let served = status.as_ref().is_ok_and(|status| *status == 200);
    let observed = format!(
        "the client holds {} connections, and the gateway counts {refused} refused; another client is {}",
        held.len(),
        if served { "served" } else { "not served" }
    );
    Ok(Trial::of(!served, observed))
}
