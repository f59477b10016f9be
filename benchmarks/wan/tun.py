"""A TUN device: packets that the kernel routes to it are read from a file, packets written to it arrive.

Each is preceded by the kernel's 10-byte virtio header, which says how a super packet of up to 64 KB is to be cut and
which checksum is still to be filled in. Written back as it was read, it lets one read and one write carry some tens
of packets of the wire's size. Constants: linux/if_tun.h, linux/virtio_net.h.
"""

import fcntl
import os
import struct
from pathlib import Path

HEADER_BYTES = 10
PACKET_BYTES = HEADER_BYTES + 65_535
"""Largest read."""

DEVICE = Path("/dev/net/tun")
_TUNSETIFF = 0x4004_54CA
_TUNSETOFFLOAD = 0x4004_54D0
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
_CHECKSUM, _TSO4 = 0x01, 0x02


def open_tun(name: str, *, super_packets: bool) -> int:
    """Makes the device in this thread's network namespace; a non-blocking descriptor, whose end is the device's end.

    Without `super_packets` the kernel cuts them up before they are read.

    Raises:
        OSError: no right to, or no such device file.
    """
    descriptor = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR)
    fcntl.ioctl(descriptor, _TUNSETIFF, request)
    fcntl.ioctl(descriptor, _TUNSETOFFLOAD, _CHECKSUM | _TSO4 if super_packets else 0)
    return descriptor
