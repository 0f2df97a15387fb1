#!/usr/bin/env python3
"""Checks the codes of Network Service Headers in a capture by RFC 9145, with nothing but Python's own library.

    ringmail keys export --danger-export-keys --output json > keys.json
    python3 check.py capture.pcap keys.json [WINDOW_MS]

Reads classic pcap files of Ethernet. Finds the header below EtherType 0x894F, below labels (0x8847, RFC 8596) and below labels in
UDP port 6635 (RFC 7510); takes the last context header, which has to be "MAC and Encrypted Metadata" of class 0; makes the code
again with the key that it names; and compares the timestamp with when the frame was captured. Writes what it counted as JSON and
exits with 1 where anything is wrong.
"""

import hashlib
import hmac
import json
import struct
import sys

MPLS, NSH, IPV4, VLAN = 0x8847, 0x894F, 0x0800, 0x8100
UDP, PORT = 17, 6635
MAC_1, MAC_2 = 2, 3
MAC_BYTES = 16


def frames(data):
    """Each frame with its time in seconds (pcap, microseconds or nanoseconds, either byte order)."""
    magic = data[:4]
    order = "<" if magic in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    unit = 1e9 if struct.unpack(order + "I", magic)[0] == 0xA1B23C4D else 1e6
    at = 24
    while at + 16 <= len(data):
        seconds, part, captured, _ = struct.unpack_from(order + "IIII", data, at)
        yield seconds + part / unit, data[at + 16 : at + 16 + captured]
        at += 16 + captured


def below_labels(data):
    """What is below the bottom of a label stack, if that is the label of the SFF."""
    at = 0
    while at + 4 <= len(data):
        (entry,) = struct.unpack_from(">I", data, at)
        at += 4
        if entry >> 8 & 1:
            return data[at:] if entry >> 12 == 0xFFFFF else None
    return None


def header(frame):
    """The header and what is below it, of a frame that has one."""
    at, kind = 14, struct.unpack_from(">H", frame, 12)[0]
    if kind == VLAN:
        at, kind = 18, struct.unpack_from(">H", frame, 16)[0]
    data = frame[at:]
    if kind == NSH:
        return data
    if kind == MPLS:
        return below_labels(data)
    if kind == IPV4 and data[9] == UDP:
        length = (data[0] & 15) * 4
        if struct.unpack_from(">H", data, length + 2)[0] == PORT:
            whole = struct.unpack_from(">H", data, 2)[0]
            return below_labels(data[length + 8 : whole])
    return None


def contexts(nsh):
    """Class, type, value and its place, of each context header."""
    at = 8
    while at + 4 <= len(nsh):
        cls, kind, length = struct.unpack_from(">HBB", nsh, at)
        length &= 0x7F
        yield cls, kind, nsh[at + 4 : at + 4 + length], at + 4
        at += 4 + (length + 3) // 4 * 4


def check(data, time, keys, window):
    """What a packet below a link's headers comes to."""
    length = (struct.unpack_from(">H", data)[0] & 0x3F) * 4
    nsh = data[:length]
    # The length of the packet below, since Ethernet pads short frames.
    inner = data[length : length + struct.unpack_from(">H", data, length + 2)[0]]
    cls, kind, value, at = list(contexts(nsh))[-1]
    if cls != 0 or kind not in (MAC_1, MAC_2):
        return "no_code", None
    id_len = value[0]
    key_id = int.from_bytes(value[1 : 1 + id_len], "big")
    stamp = value[1 + id_len : 9 + id_len]
    nonce_len = value[9 + id_len]
    mac_at = at + 10 + id_len + nonce_len
    mac = nsh[mac_at : mac_at + MAC_BYTES]
    if len(value) != 10 + id_len + nonce_len + MAC_BYTES or nonce_len:
        return "malformed", kind
    if key_id not in keys:
        return "unknown_key", kind
    covered = nsh[:mac_at] + bytes(MAC_BYTES) + nsh[mac_at + MAC_BYTES :] + inner
    if kind == MAC_1:
        covered = covered[4:]
    made = [hmac.new(key, covered, hashlib.sha256).digest()[:MAC_BYTES] for key in keys[key_id]]
    if mac not in made:
        return "wrong", kind
    seconds, part = struct.unpack(">II", stamp)
    if abs(time - seconds - part / 2**32) >= window:
        return "stale", kind
    return "right", kind


def main():
    capture, exported = sys.argv[1:3]
    window = int(sys.argv[3]) / 1000 if len(sys.argv) > 3 else 2
    keys = {}
    with open(exported, encoding="utf-8") as file:
        for key in json.load(file)["associations"]:
            if key["suite"] == "hmac-sha-256-128":
                keys.setdefault(key["sa_spi"], []).append(bytes.fromhex(key["key_and_salt"]))
    counts = {"right": 0, "mac_1": 0, "mac_2": 0}
    with open(capture, "rb") as file:
        for time, frame in frames(file.read()):
            data = header(frame)
            if data is None:
                continue
            outcome, kind = check(data, time, keys, window)
            counts[outcome] = counts.get(outcome, 0) + 1
            if kind:
                counts["mac_1" if kind == MAC_1 else "mac_2"] += 1
    print(json.dumps(counts))
    bad = set(counts) - {"right", "mac_1", "mac_2"}
    sys.exit(1 if bad or not counts["right"] else 0)


if __name__ == "__main__":
    main()
