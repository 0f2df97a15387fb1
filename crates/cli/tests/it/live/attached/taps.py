"""Opens the TAPs in0 and out0 and copies frames from one to the other, as a virtual machine would that is a bridge."""

import fcntl
import os
import select
import struct

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000


def tap(name):
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return file


one, other = tap("in0"), tap("out0")
far = {one: other, other: one}
poll = select.poll()
for file in far:
    poll.register(file, select.POLLIN)
while True:
    for file, _ in poll.poll():
        os.write(far[file], os.read(file, 65536))
