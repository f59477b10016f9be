"""A lab that stands: started from a topology, gone afterwards whatever happens. The work is `link_process.py`'s.

Needs Linux, iproute2, nftables where a host is behind NAT, /dev/net/tun, and the right to make network namespaces:
root, or root of a user namespace (`privilege.py`). What is missing is said in one line.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks import process_group
from benchmarks.crew import BenchError, deaf_to_ctrl_c
from benchmarks.wan import counters, link_process, namespace, plan
from benchmarks.wan.counters import Counters
from benchmarks.wan.topology import Topology

_PACKAGES = {"ip": "iproute2", "tc": "iproute2", "nft": "nftables"}
TOOL_FOLDERS = ("/usr/sbin", "/sbin")
"""Not on everybody's PATH."""


class Lab:
    """A running network. Namespaces are files that `namespace.enter_path` takes."""

    def __init__(self, topology: Topology, process: "subprocess.Popen[bytes]", descriptors: dict[str, int]) -> None:
        self.topology = topology
        self._process = process
        self._descriptors = descriptors

    def namespace_of(self, host: int) -> Path:
        """Where the host's processes belong."""
        return self._path(plan.host_name(host))

    def check(self) -> None:
        """Raises BenchError if the link process has ended, since nothing would pass any more."""
        code = self._process.poll()
        if code is not None:
            raise BenchError(f"the lab's link process ended (exit code {code})")

    def cpu_s(self) -> float:
        """CPU seconds the link process has used: the price of the delay."""
        return process_group.cpu_s([self._process.pid])

    def counters(self) -> Counters:
        """What every link has carried so far."""
        routers = {
            name: namespace.read_inside(self._path(name), "dev")
            for name in (plan.CORE, *map(plan.router_name, range(len(self.topology.borders))))
        }
        core = routers[plan.CORE]
        return Counters(
            hosts=tuple(
                counters.traffic_from_router(routers[plan.router_of(self.topology, index)], plan.host_link(index))
                for index in range(len(self.topology.hosts))
            ),
            borders=tuple(
                counters.traffic_from_router(core, plan.border_link(index))
                for index in range(len(self.topology.borders))
            ),
            core_drops=counters.drops(core, plan.TUN),
        )

    def _path(self, name: str) -> Path:
        return Path(f"/proc/{self._process.pid}/fd/{self._descriptors[name]}")


@contextmanager
def started(topology: Topology) -> Generator[Lab]:
    """Builds the network; it is gone when the block ends, or this process.

    Raises:
        BenchError: a tool or a right is missing.
    """
    path = os.pathsep.join((os.environ.get("PATH", ""), *TOOL_FOLDERS))
    for tool in plan.tools(topology):
        if shutil.which(tool, path=path) is None:
            raise BenchError(f"`{tool}` is not installed: it comes with the package {_PACKAGES[tool]}")
    process = subprocess.Popen(
        [sys.executable, "-m", link_process.__name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PATH": path},
        start_new_session=True,  # Ctrl+C is for the parent, whose end ends this
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(topology) + b"\n")
        process.stdin.flush()
        yield Lab(topology, process, _descriptors(process.stdout.readline()))
    finally:
        with deaf_to_ctrl_c():
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


def _descriptors(line: bytes) -> dict[str, int]:
    if not line:
        raise BenchError("the lab's link process ended before the network stood")
    answer = msgspec.json.decode(line, type=link_process.Built | link_process.Refused)
    if isinstance(answer, link_process.Refused):
        raise BenchError(f"no network can be built here: {answer.cause}")
    return answer.descriptors
