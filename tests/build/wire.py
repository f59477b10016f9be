"""A machine whose every packet is counted: a network namespace with one interface, which everything is routed to."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from benchmarks.wan.privilege import become_root_of_a_user_namespace

_INSIDE = "TAPESTRY_TEST_ON_WIRE"
_COUNTER = Path("/sys/class/net/out/statistics/tx_packets")
_SOMEWHERE = ("192.0.2.7", 53)
_SETUP = """
mount -t sysfs sysfs /sys
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ip link set lo up
ip link add out type veth peer name wire
ip addr add 192.0.2.1/24 dev out
ip link set out up
ip link set wire up
ip route add default via 192.0.2.2
ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev out
ip neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev out
"""


def move_there() -> None:
    """Starts this very command again in such a place; returns at once in it."""
    become_root_of_a_user_namespace()
    if _INSIDE in os.environ:
        return
    os.environ[_INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--net", "--mount", "--", sys.executable, *sys.orig_argv[1:]])


class Wire:
    """The interface."""

    def __init__(self) -> None:
        """Builds it, and sends one packet to see that it counts."""
        subprocess.run(["sh", "-ec", _SETUP], check=True)
        before = self.packets
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"is anybody there?", _SOMEWHERE)
        assert self.packets == before + 1, "a packet that was sent was not counted"

    @property
    def packets(self) -> int:
        """Sent so far."""
        return int(_COUNTER.read_text())
