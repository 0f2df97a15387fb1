#!/usr/bin/python3
"""Writes with scapy (Debian's python3-scapy) what kernels here do not send: vlan.pcap, mpls.pcap, nsh.pcap, esp.pcap, headers.pcap.

Not part of any test: the results are committed. Times are fixed, keys are throw-away, so that a second run gives the
same bytes.
"""

import os
import struct

from scapy.contrib.mpls import MPLS
from scapy.contrib.nsh import NSH
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_Router_Alert
from scapy.layers.inet6 import (
    ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting,
    PadN, RouterAlert)
from scapy.layers.ipsec import AH, ESP, SecurityAssociation
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkInit
from scapy.packet import Raw, bind_layers
from scapy.utils import wrpcap

HERE = os.path.dirname(os.path.abspath(__file__))
ETHER = dict(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
V4 = dict(src="10.9.1.1", dst="10.9.2.1")
V6 = dict(src="fd09:1::1", dst="fd09:2::1")
PING = ICMP(id=7, seq=1) / Raw(b"ringmail" * 4)
PING6 = ICMPv6EchoRequest(id=7, seq=1, data=b"ringmail" * 4)
SYN = TCP(sport=40000, dport=443, seq=1, flags="S", options=[("MSS", 1460), ("SAckOK", b""), ("WScale", 7)])
QUERY = UDP(sport=40001, dport=53) / DNS(rd=1, qd=DNSQR(qname="www.example.test"))

bind_layers(UDP, MPLS, dport=6635)
bind_layers(MPLS, IP, s=1)


def write(name, frames):
    frames = [Ether(bytes(frame)) for frame in frames]
    for number, frame in enumerate(frames):
        frame.time = 1_700_000_000 + number
    wrpcap(os.path.join(HERE, name), frames)


def ether(**kind):
    return Ether(**ETHER, **kind)


def stack(*labels):
    """One MPLS entry a (label, class, TTL), with the bottom bit on the last."""
    entries = [MPLS(label=label, cos=cos, ttl=ttl, s=0) for label, cos, ttl in labels]
    entries[-1].s = 1
    joined = entries[0]
    for entry in entries[1:]:
        joined = joined / entry
    return joined


write("vlan.pcap", [
    ether() / Dot1Q(vlan=100, prio=5) / IP(**V4, id=1) / PING,
    ether() / Dot1Q(vlan=4094, prio=7, id=1) / IPv6(**V6) / PING6,
    ether(type=0x88A8) / Dot1AD(vlan=200, prio=3) / Dot1Q(vlan=300, prio=1) / IP(**V4, id=2) / SYN,
    ether() / Dot1Q(vlan=0, prio=6) / IPv6(**V6) / QUERY,
])

deep = [(16 + hop, hop % 8, 64 - hop) for hop in range(9)]
write("mpls.pcap", [
    ether(type=0x8847) / stack((16, 0, 255)) / IP(**V4, id=1) / PING,
    ether(type=0x8847) / stack((0xFFFFF, 7, 1)) / IPv6(**V6) / PING6,
    ether(type=0x8847) / stack((16001, 5, 64), (24007, 0, 63), (100000, 3, 62)) / IP(**V4, id=2) / SYN,
    ether(type=0x8847) / stack(*deep) / IPv6(**V6) / QUERY,
    ether(type=0x8848) / stack((17, 0, 64)) / IP(**V4, id=3) / QUERY,
    ether() / IP(**V4, id=4) / UDP(sport=49152, dport=6635, chksum=0) / stack((2001, 4, 64), (2002, 4, 64)) / IP(**V4, id=5) / PING,
    ether() / IPv6(**V6) / UDP(sport=49153, dport=6635) / stack((2003, 0, 64)) / IP(**V4, id=6) / SYN,
])


def nsh(spi, si, *contexts, **more):
    """An NSH of MD type 2 with one context header a (class, type, value), which scapy has no right fields for."""
    words = [struct.pack("!HBB", kind, number, len(value)) + value + bytes(-len(value) % 4) for kind, number, value in contexts]
    metadata = b"".join(words)
    return NSH(mdtype=2, spi=spi, si=si, length=2 + len(metadata) // 4, vlch=[Raw(metadata)], **more)


write("nsh.pcap", [
    ether(type=0x894F) / NSH(mdtype=1, spi=1, si=255, ttl=63, nextproto=1, context_header=bytes(range(16))) / IP(**V4, id=1) / PING,
    ether(type=0x894F) / nsh(0xFFFFFF, 0, ttl=0, nextproto=2) / IPv6(**V6) / PING6,
    ether(type=0x894F) / nsh(42, 254, (0xFFF6, 3, bytes(range(20))), ttl=62, nextproto=1) / IP(**V4, id=2) / SYN,
    ether(type=0x894F) / nsh(43, 1, (0xFFF6, 1, b"\xaa" * 100), (0xFFF6, 2, b""), (0, 0x80, b"abc"), ttl=1, nextproto=1) / IP(**V4, id=3) / QUERY,
    ether(type=0x894F) / nsh(44, 253, (0x0102, 9, b"12345678"), ttl=63, nextproto=3) / ether() / IP(**V4, id=4) / PING,
    ether(type=0x894F) / nsh(45, 255, ttl=63, nextproto=1, oam=1) / IP(**V4, id=5) / PING,
])


def sa(algorithm, key_bytes, spi, outer, **more):
    return SecurityAssociation(ESP, spi=spi, crypt_algo=algorithm, crypt_key=bytes(range(key_bytes)), tunnel_header=outer, **more)


def plain(spi, outer):
    return SecurityAssociation(ESP, spi=spi, crypt_algo="NULL", auth_algo="SHA2-256-128", auth_key=bytes(range(32)), tunnel_header=outer)


OUTER4, OUTER6 = IP(src="192.0.2.1", dst="192.0.2.2"), IPv6(src="2001:db8::1", dst="2001:db8::2")
aes = sa("AES-GCM", 20, 0x1001, OUTER4)
chacha = sa("CHACHA20-POLY1305", 36, 0x1002, OUTER6)
null4, null6 = plain(0x2001, OUTER4), plain(0x2002, OUTER6)
sized = [IP(**V4, id=10 + size) / UDP(sport=1000, dport=2000) / Raw(b"x" * size) for size in range(4)]
write("esp.pcap", [
    *(ether() / aes.encrypt(packet, iv=number.to_bytes(8, "big")) for number, packet in enumerate(sized, 1)),
    ether() / chacha.encrypt(IPv6(**V6) / PING6, iv=(1).to_bytes(8, "big")),
    ether() / IP(**V4, id=4) / UDP(sport=49152, dport=6635, chksum=0) / stack((2001, 0, 64), (2002, 0, 64))
    / aes.encrypt(IP(**V4, id=5) / PING, iv=(5).to_bytes(8, "big")),
    *(ether() / null4.encrypt(packet) for packet in sized),
    *(ether() / null6.encrypt(IPv6(**V6) / UDP(sport=1000, dport=2000) / Raw(b"x" * size)) for size in range(4)),
])

AUTH = AH(nh=60, payloadlen=4, spi=0x3001, seq=1, icv=bytes(12))
write("headers.pcap", [
    ether() / IP(**V4, id=1, tos=0xB9, options=[IPOption_Router_Alert()]) / SYN,
    ether() / IP(**V4, id=2, flags="MF", frag=0) / Raw(b"f" * 16),
    ether() / IP(**V4, id=2, frag=2, proto=17) / Raw(b"f" * 8),
    ether() / IP(**V4, id=3) / SCTP(sport=5000, dport=5001) / SCTPChunkInit(init_tag=1),
    ether() / IP(**V4, id=4) / TCP(sport=1, dport=2, flags=0x1FF, seq=0xFFFFFFFF, ack=0x80000000, urgptr=9, window=0,
                                  options=[("SAck", (1, 2, 3, 4)), ("NOP", None), ("NOP", None), ("Timestamp", (5, 6))]) / Raw(b"data"),
    ether() / IPv6(**V6, tc=0xB9, fl=0xFFFFF) / IPv6ExtHdrHopByHop(options=[RouterAlert(), PadN(optdata=b"\0\0")]) / PING6,
    ether() / IPv6(**V6) / IPv6ExtHdrRouting(addresses=["fd09:3::1"], segleft=0) / SYN,
    ether() / IPv6(**V6) / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(12))]) / QUERY,
    ether() / IPv6(**V6) / IPv6ExtHdrFragment(id=0xDEADBEEF) / QUERY,
    ether() / IPv6(**V6) / IPv6ExtHdrFragment(id=0xDEADBEEF, m=1) / QUERY,
    ether() / IPv6(**V6) / IPv6ExtHdrFragment(id=0xDEADBEEF, offset=4, nh=17) / Raw(b"f" * 8),
    ether() / IPv6(**V6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(addresses=[]) / AUTH / IPv6ExtHdrDestOpt() / SYN,
    ether() / IPv6(**V6) / SCTP(sport=5000, dport=5001) / SCTPChunkInit(init_tag=1),
    ether() / IPv6(**V6, nh=59),
])
