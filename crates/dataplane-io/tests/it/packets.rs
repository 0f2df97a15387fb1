//! What packets should look like, by an implementation that is not ours.

use etherparse::{IpHeaders, IpPayloadSlice, TcpSlice, UdpSlice};

/// Lengths and checksums.
pub(crate) fn check(packet: &[u8]) {
    let (ip, payload) = match packet[0] >> 4 {
        4 => IpHeaders::from_ipv4_slice(packet).unwrap(),
        _ => IpHeaders::from_ipv6_slice(packet).unwrap(),
    };
    let IpPayloadSlice { payload: bytes, ip_number, .. } = payload;
    if let IpHeaders::Ipv4(header, _) = &ip {
        assert_eq!(header.calc_header_checksum(), header.header_checksum);
        assert_eq!(usize::from(header.total_len), packet.len());
    }
    match ip_number.0 {
        6 => {
            let tcp = TcpSlice::from_slice(bytes).unwrap();
            let expected = match &ip {
                IpHeaders::Ipv4(ip, _) => tcp.calc_checksum_ipv4(ip.source, ip.destination),
                IpHeaders::Ipv6(ip, _) => tcp.calc_checksum_ipv6(ip.source, ip.destination),
            };
            assert_eq!(tcp.checksum(), expected.unwrap());
        }
        17 => {
            let udp = UdpSlice::from_slice(bytes).unwrap();
            assert_eq!(usize::from(udp.length()), bytes.len());
            let header = udp.to_header();
            let expected = match &ip {
                IpHeaders::Ipv4(ip, _) => header.calc_checksum_ipv4(ip, udp.payload()),
                IpHeaders::Ipv6(ip, _) => header.calc_checksum_ipv6(ip, udp.payload()),
            };
            assert_eq!(udp.checksum(), expected.unwrap());
        }
        _ => {}
    }
}
