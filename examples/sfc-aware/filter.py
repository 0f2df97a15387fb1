#!/usr/bin/env python3
"""An SFC-aware function: drops every packet that holds a word, and passes all others on along their path.

    filter.py SOCKET WORD

It speaks docs/sfc-aware.md: one message a packet over a Unix socket of kind SOCK_SEQPACKET.
"""

import socket
import struct
import sys
import time

HEADER = struct.Struct("!BBBBIHH")  # version, kind, direction, labels, path, metadata bytes, reserved
PACKET, DROP = 1, 2
DIRECTIONS = {1: "forward", 2: "return"}


def connect(path):
    """The hop may not listen yet."""
    for _ in range(100):
        function = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            function.connect(path)
            return function
        except OSError:
            function.close()
            time.sleep(0.1)
    sys.exit(f"nobody listens at {path}")


def main():
    path, word = sys.argv[1], sys.argv[2].encode()
    function = connect(path)
    while message := function.recv(65536):
        version, _kind, direction, labels, path_id, metadata, _ = HEADER.unpack_from(message)
        if version != 1:
            sys.exit(f"version {version} is not known here")
        packet = message[HEADER.size + 4 * labels + metadata :]
        if word in packet:
            print(f"path {path_id}, {DIRECTIONS[direction]}: dropped {len(packet)} bytes", flush=True)
            function.send(HEADER.pack(1, DROP, direction, 0, path_id, 0, 0))
        else:
            # As it came: same path, labels and metadata.
            function.send(message)


if __name__ == "__main__":
    main()
