//! The PROXY protocol, versions 1 and 2 (haproxy's doc/proxy-protocol.txt): whom a load balancer speaks for, and for whom
//! this gateway speaks towards a service.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ringmail_model::domain::ProxyVersion;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::PROXY_HEADER_BYTES;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY; with command LOCAL it is 0x20.
const PROXY: u8 = 0x21;
const LOCAL: u8 = 0x20;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
/// The longest line of version 1, its end included.
const LINE_BYTES: usize = 107;

/// The header for a connection from `source` to `destination`.
pub(crate) fn header(
    version: ProxyVersion,
    source: SocketAddr,
    destination: SocketAddr,
) -> Vec<u8> {
    let (from, to) = same_family(source, destination);
    match version {
        ProxyVersion::V1 => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            let ports = (from.port(), to.port());
            format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), ports.0, ports.1)
                .into_bytes()
        }
        ProxyVersion::V2 => {
            let mut header = SIGNATURE.to_vec();
            let (family, length) = if from.is_ipv4() { (TCP4, 12_u16) } else { (TCP6, 36) };
            header.extend([PROXY, family]);
            header.extend(length.to_be_bytes());
            for address in [from, to] {
                match address.ip() {
                    IpAddr::V4(ip) => header.extend(ip.octets()),
                    IpAddr::V6(ip) => header.extend(ip.octets()),
                }
            }
            header.extend(from.port().to_be_bytes());
            header.extend(to.port().to_be_bytes());
            header
        }
    }
}

/// A header has one family for both: where they differ IPv4 is written as IPv6.
fn same_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (source, destination) = (plain(source), plain(destination));
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    (mapped(source), mapped(destination))
}

/// Reads a header off the beginning of a connection, and nothing behind it. `None`: the load balancer speaks for itself,
/// as in a health check.
///
/// # Errors
/// Those of the socket, and `InvalidData` where no header comes.
pub(crate) async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut start = [0; 12];
    io.read_exact(&mut start).await?;
    if start == SIGNATURE {
        return version2(io).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == LINE_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        line.push(io.read_u8().await?);
    }
    version1(&line).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn version1(line: &[u8]) -> Option<Option<SocketAddr>> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let mut words = line.strip_prefix("PROXY ")?.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let (source, destination) = (words.next()?, words.next()?);
    let ports = (words.next()?.parse::<u16>().ok()?, words.next()?.parse::<u16>().ok()?);
    let source: IpAddr = match family {
        "TCP4" => {
            destination.parse::<Ipv4Addr>().ok()?;
            source.parse::<Ipv4Addr>().ok()?.into()
        }
        "TCP6" => {
            destination.parse::<Ipv6Addr>().ok()?;
            source.parse::<Ipv6Addr>().ok()?.into()
        }
        _ => return None,
    };
    words.next().is_none().then(|| Some(SocketAddr::new(source.to_canonical(), ports.0)))
}

async fn version2(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let mut head = [0; 4];
    io.read_exact(&mut head).await?;
    let [command, family, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > PROXY_HEADER_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // Behind the addresses are values that nobody here asks for.
    let mut rest = vec![0; length];
    io.read_exact(&mut rest).await?;
    if command == LOCAL {
        return Ok(None);
    }
    let source = match (command, family) {
        (PROXY, TCP4) => v4(&rest),
        (PROXY, TCP6) => v6(&rest),
        _ => None,
    };
    source.map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn v4(rest: &[u8]) -> Option<SocketAddr> {
    let address: [u8; 4] = rest.get(..4)?.try_into().ok()?;
    let port: [u8; 2] = rest.get(8..10)?.try_into().ok()?;
    rest.get(10..12)?;
    Some(SocketAddr::new(address.into(), u16::from_be_bytes(port)))
}

fn v6(rest: &[u8]) -> Option<SocketAddr> {
    let address: [u8; 16] = rest.get(..16)?.try_into().ok()?;
    let port: [u8; 2] = rest.get(32..34)?.try_into().ok()?;
    rest.get(34..36)?;
    Some(SocketAddr::new(IpAddr::from(address).to_canonical(), u16::from_be_bytes(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    async fn parse(bytes: &[u8]) -> (Option<Option<SocketAddr>>, usize) {
        let mut rest = bytes;
        let read = read(&mut rest).await.ok();
        (read, rest.len())
    }

    #[tokio::test]
    async fn what_is_written_is_read_and_nothing_behind_it() {
        let pairs = [
            ("192.0.2.11:40000", "192.0.2.1:443"),
            ("[2001:db8::11]:40000", "[2001:db8::1]:443"),
            ("192.0.2.11:40000", "[2001:db8::1]:443"),
        ];
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            for (source, destination) in pairs.map(|(a, b)| (address(a), address(b))) {
                let mut bytes = header(version, source, destination);
                bytes.extend(b"\x16\x03\x01");
                assert_eq!(parse(&bytes).await, (Some(Some(source)), 3), "{bytes:?}");
            }
        }
    }

    /// The examples of the specification, sections 2.1 and 2.2.
    #[tokio::test]
    async fn headers_of_others() {
        let line = b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n";
        assert_eq!(parse(line).await.0, Some(Some(address("255.255.255.255:65535"))));
        assert_eq!(parse(b"PROXY UNKNOWN\r\nGET").await, (Some(None), 3));
        let mut local = SIGNATURE.to_vec();
        local.extend([LOCAL, 0, 0, 0]);
        assert_eq!(parse(&local).await, (Some(None), 0));
        let mut with_values =
            header(ProxyVersion::V2, address("192.0.2.1:1"), address("192.0.2.2:2"));
        with_values[15] += 5;
        with_values.extend([0x04, 0, 2, 9, 9]);
        assert_eq!(parse(&with_values).await, (Some(Some(address("192.0.2.1:1"))), 0));
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let mut cut = header(ProxyVersion::V2, address("192.0.2.1:1"), address("192.0.2.2:2"));
        cut[15] = 8;
        let mut unix = SIGNATURE.to_vec();
        unix.extend([PROXY, 0x31, 0, 0]);
        let long = [b"PROXY TCP4 ", &[b'1'; 120][..]].concat();
        let bad: [&[u8]; 8] = [
            b"GET / HTTP/1.1\r\n\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 99999\r\n",
            b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            &long,
            &cut,
            &unix,
        ];
        for bytes in bad {
            assert_eq!(parse(bytes).await.0, None, "{bytes:?}");
        }
    }
}
