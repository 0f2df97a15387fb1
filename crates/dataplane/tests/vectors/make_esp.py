#!/usr/bin/python3
"""Makes esp.txt: ESP packets sealed by scapy (over python3-cryptography), which shares no code with ringmail.

Debian: apt install python3-scapy python3-cryptography. Run: ./make_esp.py > esp.txt
The packets of one association follow each other, so that a receiver reaches the numbers beyond 2^32 as it would.
"""
import hashlib
import logging
import struct
import warnings

warnings.filterwarnings("ignore")
logging.getLogger("scapy").setLevel(logging.ERROR)

from scapy.layers.inet import ICMP, IP, TCP, UDP  # noqa: E402
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6  # noqa: E402
from scapy.layers.ipsec import ESP, SecurityAssociation  # noqa: E402

SUITES = {
    "aes-128-gcm": ("AES-GCM", 16),
    "aes-256-gcm": ("AES-GCM", 32),
    "chacha20-poly1305": ("CHACHA20-POLY1305", 32),
}
SEQUENCES = {
    "extended": [1, 2, 0x8000_0000, 0xFFFF_FFF0, 0x1_0000_0001, 0x1_0000_0005, 0x1_8000_0000],
    "short": [1, 2, 0x8000_0000, 0xFFFF_FFF0],
}
OUTER = IP(src="192.0.2.1", dst="192.0.2.2")


def text(length):
    return bytes((7 * i + 3) % 251 for i in range(length))


def tunnel_packets():
    inner = dict(src="10.0.0.1", dst="10.1.0.1", id=7)
    yield 4, IP(**inner) / UDP(sport=5000, dport=53) / text(1)
    yield 4, IP(**inner) / TCP(sport=40000, dport=443, seq=1, flags="A") / text(263)
    yield 41, IPv6(src="2001:db8::1", dst="2001:db8:1::1") / ICMPv6EchoRequest(id=1, data=text(18))
    yield 4, IP(**inner) / ICMP(id=2) / text(3)
    yield 4, IP(**inner) / UDP(sport=5000, dport=53)
    yield 41, IPv6(src="2001:db8::1", dst="2001:db8:1::1") / UDP(sport=1, dport=2) / text(130)
    yield 4, IP(**inner) / TCP(sport=40000, dport=443, flags="S")


def transport_packets():
    yield 6, TCP(sport=40000, dport=443, seq=1, flags="A") / text(101)
    yield 17, UDP(sport=5000, dport=53) / text(30)
    yield 1, ICMP(id=2) / text(8)
    yield 6, TCP(sport=40000, dport=443, flags="S")
    yield 17, UDP(sport=1, dport=2) / text(300)
    yield 6, TCP(sport=40000, dport=443, flags="PA") / text(2)
    yield 17, UDP(sport=1, dport=2)


def main():
    print("# Made by make_esp.py with scapy; do not edit.")
    print("# suite | numbers | mode | key and salt | SPI | sequence | next header | inner | ESP packet")
    spi = 0x1000_0000
    for suite, (algorithm, key_len) in SUITES.items():
        for numbers, sequences in SEQUENCES.items():
            for mode in ("tunnel", "transport"):
                spi += 0x1001
                material = hashlib.sha512(struct.pack("!L", spi)).digest()[: key_len + 4]
                sa = SecurityAssociation(
                    ESP,
                    spi=spi,
                    crypt_algo=algorithm,
                    crypt_key=material,
                    auth_algo="NULL",
                    tunnel_header=OUTER if mode == "tunnel" else None,
                )
                packets = tunnel_packets() if mode == "tunnel" else transport_packets()
                for sequence, (next_header, inner) in zip(sequences, packets):
                    plain = inner if mode == "tunnel" else OUTER / inner
                    plain = plain.__class__(bytes(plain))
                    inner = bytes(plain) if mode == "tunnel" else bytes(plain.payload)
                    sealed = sa.encrypt(
                        plain,
                        seq_num=sequence & 0xFFFF_FFFF,
                        iv=struct.pack("!Q", sequence),
                        esn_en=numbers == "extended",
                        esn=sequence >> 32,
                    )
                    esp = bytearray(bytes(sealed[ESP]))
                    # scapy takes 0 for "not given" and counts itself then.
                    assert struct.unpack("!L", esp[4:8])[0] == sequence & 0xFFFF_FFFF, sequence
                    fields = (suite, numbers, mode, material.hex(), f"{spi:08x}", f"{sequence:x}",
                              next_header, inner.hex(), esp.hex())
                    print(" | ".join(str(field) for field in fields))


main()
