//! The encoding of LOOK and SEEN.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::MessageError;
use super::encoding::short;
use super::wire::{Reader, Writer};
use crate::limits;
use crate::pdp::look::{Fate, Flow, Judged, Look, Mark, Passage, Proved, Seen};

/// What a passage has of what need not be there.
const HAS_FLOW: u8 = 1;
const HAS_ARRIVED: u8 = 2;
const HAS_LEFT: u8 = 4;

impl Writer {
    pub(super) fn look(&mut self, look: &Look) {
        match look {
            Look::Start { paths, flows } => {
                let names = paths.iter().map(|path| short(path, limits::PDP_PATH_NAME_BYTES));
                let paths: Vec<_> = names.map(<[u8]>::to_vec).collect();
                self.u8(1).list(&paths).flows(flows);
            }
            Look::Probe { path } => {
                self.u8(2).bytes(short(path, limits::PDP_PATH_NAME_BYTES));
            }
            Look::Find { flows, marks } => {
                let marks = &marks[..marks.len().min(limits::PDP_LOOK_MARKS)];
                self.u8(3).flows(flows).u16(marks.len() as u16);
                marks.iter().for_each(|mark| self.mark(*mark));
            }
            Look::Stop => {
                self.u8(4);
            }
            Look::Proofs { path, last } => {
                self.u8(5).bytes(short(path, limits::PDP_PATH_NAME_BYTES)).u32(*last);
            }
        }
    }

    pub(super) fn seen(&mut self, seen: &Seen) {
        match seen {
            Seen::Refused(detail) => {
                self.u8(0).bytes(short(detail, limits::PDP_DETAIL_BYTES));
            }
            Seen::Done => {
                self.u8(1);
            }
            Seen::Probed { flow, connected_ns, error } => {
                self.u8(2).flow(flow);
                self.u64(*connected_ns).bytes(short(error, limits::PDP_DETAIL_BYTES));
            }
            Seen::Passages { passages, overwritten, more } => {
                let passages = &passages[..passages.len().min(limits::PDP_SEEN_PASSAGES)];
                self.u8(if *more { 4 } else { 3 }).u64(*overwritten).u16(passages.len() as u16);
                passages.iter().for_each(|passage| self.passage(passage));
            }
            Seen::Proofs { paths, more } => {
                let paths = &paths[..paths.len().min(limits::PDP_LIST_ENTRIES)];
                self.u8(if *more { 6 } else { 5 }).u16(paths.len() as u16);
                paths.iter().for_each(|path| self.proved(path));
            }
        }
    }

    fn name(&mut self, name: &str) -> &mut Writer {
        self.bytes(short(name, limits::PDP_REASON_BYTES))
    }

    fn proved(&mut self, Proved { path, counts, last }: &Proved) {
        let counts = &counts[..counts.len().min(limits::PDP_LIST_ENTRIES)];
        self.bytes(short(path, limits::PDP_PATH_NAME_BYTES)).u16(counts.len() as u16);
        for (verdict, from, packets) in counts {
            self.name(verdict).u32(*from).u64(*packets);
        }
        let last = &last[..last.len().min(limits::PDP_SEEN_JUDGED)];
        self.u16(last.len() as u16);
        for Judged { time, origin, worker, sequence, verdict, from, from_element } in last {
            self.name(time).name(origin).u16(*worker).u64(*sequence);
            self.name(verdict).u32(*from).name(from_element);
        }
    }

    fn flows(&mut self, flows: &[Flow]) -> &mut Writer {
        let flows = &flows[..flows.len().min(limits::PDP_LIST_ENTRIES)];
        self.u16(flows.len() as u16);
        flows.iter().for_each(|flow| self.flow(flow));
        self
    }

    fn flow(&mut self, flow: &Flow) {
        for address in [flow.source, flow.destination] {
            match address.ip() {
                IpAddr::V4(ip) => self.u8(4).fixed(&ip.octets()),
                IpAddr::V6(ip) => self.u8(6).fixed(&ip.octets()),
            };
            self.u16(address.port());
        }
        self.u8(flow.protocol);
    }

    fn mark(&mut self, mark: Mark) {
        self.u32(mark.spi).u32(mark.sequence);
    }

    fn passage(&mut self, passage: &Passage) {
        let Passage { flow, arrived, left, in_ns, out_ns, bytes_in, bytes_out, fate, reason } =
            passage;
        let has = |there: bool, flag: u8| if there { flag } else { 0 };
        self.u8(has(flow.is_some(), HAS_FLOW)
            | has(arrived.is_some(), HAS_ARRIVED)
            | has(left.is_some(), HAS_LEFT));
        flow.iter().for_each(|flow| self.flow(flow));
        arrived.iter().chain(left).for_each(|mark| self.mark(*mark));
        self.u64(*in_ns).u64(*out_ns).u32(*bytes_in).u32(*bytes_out).u8(*fate as u8);
        self.bytes(short(reason, limits::PDP_REASON_BYTES));
    }
}

impl Reader<'_> {
    pub(super) fn look(&mut self) -> Result<Look, MessageError> {
        Ok(match self.u8("look")? {
            1 => Look::Start {
                paths: {
                    let names = self.list("paths", limits::PDP_PATH_NAME_BYTES)?;
                    let names: Result<_, _> = names.into_iter().map(String::from_utf8).collect();
                    names.map_err(|_| MessageError::Value("paths"))?
                },
                flows: self.flows()?,
            },
            2 => Look::Probe { path: self.text("path", limits::PDP_PATH_NAME_BYTES)? },
            3 => {
                let flows = self.flows()?;
                let count = self.count("marks", limits::PDP_LOOK_MARKS)?;
                let marks: Result<_, _> = (0..count).map(|_| self.mark()).collect();
                Look::Find { flows, marks: marks? }
            }
            4 => Look::Stop,
            5 => Look::Proofs {
                path: self.text("path", limits::PDP_PATH_NAME_BYTES)?,
                last: self.u32("number of verdicts")?,
            },
            _ => return Err(MessageError::Value("look")),
        })
    }

    pub(super) fn seen(&mut self) -> Result<Seen, MessageError> {
        Ok(match self.u8("seen")? {
            0 => Seen::Refused(self.detail()?),
            1 => Seen::Done,
            2 => Seen::Probed {
                flow: self.flow()?,
                connected_ns: self.u64("time")?,
                error: self.detail()?,
            },
            kind @ (3 | 4) => {
                let overwritten = self.u64("overwritten")?;
                let count = self.count("passages", limits::PDP_SEEN_PASSAGES)?;
                let passages: Result<_, _> = (0..count).map(|_| self.passage()).collect();
                Seen::Passages { passages: passages?, overwritten, more: kind == 4 }
            }
            kind @ (5 | 6) => {
                let count = self.count("paths", limits::PDP_LIST_ENTRIES)?;
                let paths: Result<_, _> = (0..count).map(|_| self.proved()).collect();
                Seen::Proofs { paths: paths?, more: kind == 6 }
            }
            _ => return Err(MessageError::Value("seen")),
        })
    }

    fn name(&mut self, what: &'static str) -> Result<String, MessageError> {
        self.text(what, limits::PDP_REASON_BYTES)
    }

    fn proved(&mut self) -> Result<Proved, MessageError> {
        let path = self.text("path", limits::PDP_PATH_NAME_BYTES)?;
        let counts = self.count("counts", limits::PDP_LIST_ENTRIES)?;
        let counts: Result<_, _> = (0..counts)
            .map(|_| Ok((self.name("verdict")?, self.u32("position")?, self.u64("packets")?)))
            .collect();
        let last = self.count("verdicts", limits::PDP_SEEN_JUDGED)?;
        let last: Result<_, _> = (0..last).map(|_| self.judged()).collect();
        Ok(Proved { path, counts: counts?, last: last? })
    }

    fn judged(&mut self) -> Result<Judged, MessageError> {
        Ok(Judged {
            time: self.name("time")?,
            origin: self.name("origin")?,
            worker: self.u16("worker")?,
            sequence: self.u64("sequence")?,
            verdict: self.name("verdict")?,
            from: self.u32("position")?,
            from_element: self.name("element")?,
        })
    }

    fn count(&mut self, what: &'static str, most: usize) -> Result<usize, MessageError> {
        match usize::from(self.u16(what)?) {
            count if count <= most => Ok(count),
            _ => Err(MessageError::Value(what)),
        }
    }

    fn flows(&mut self) -> Result<Vec<Flow>, MessageError> {
        let count = self.count("flows", limits::PDP_LIST_ENTRIES)?;
        (0..count).map(|_| self.flow()).collect()
    }

    fn flow(&mut self) -> Result<Flow, MessageError> {
        let mut address = || -> Result<SocketAddr, MessageError> {
            let ip = match self.u8("address")? {
                4 => IpAddr::from(Ipv4Addr::from(self.fixed::<4>("address")?)),
                6 => IpAddr::from(Ipv6Addr::from(self.fixed::<16>("address")?)),
                _ => return Err(MessageError::Value("address")),
            };
            Ok(SocketAddr::new(ip, self.u16("port")?))
        };
        let (source, destination) = (address()?, address()?);
        Ok(Flow { source, destination, protocol: self.u8("protocol")? })
    }

    fn mark(&mut self) -> Result<Mark, MessageError> {
        Ok(Mark { spi: self.u32("mark")?, sequence: self.u32("mark")? })
    }

    fn passage(&mut self) -> Result<Passage, MessageError> {
        let has = self.u8("passage")?;
        if has & !(HAS_FLOW | HAS_ARRIVED | HAS_LEFT) != 0 {
            return Err(MessageError::Value("passage"));
        }
        let there = |flag: u8| (has & flag != 0).then_some(());
        Ok(Passage {
            flow: there(HAS_FLOW).map(|()| self.flow()).transpose()?,
            arrived: there(HAS_ARRIVED).map(|()| self.mark()).transpose()?,
            left: there(HAS_LEFT).map(|()| self.mark()).transpose()?,
            in_ns: self.u64("time")?,
            out_ns: self.u64("time")?,
            bytes_in: self.u32("bytes")?,
            bytes_out: self.u32("bytes")?,
            fate: Fate::from_code(self.u8("fate")?).ok_or(MessageError::Value("fate"))?,
            reason: self.text("reason", limits::PDP_REASON_BYTES)?,
        })
    }
}
