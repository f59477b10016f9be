"""The process that is the lab: it makes the namespaces, runs the plan, then carries packets until its parent is gone.

The namespaces have no names: descriptors held here keep them, so that they vanish with this process however it ends
(workers inside keep theirs a moment longer, and die with the parent too). Standard input brings one line, the topology,
and afterwards only tells, by its end, that the parent has ended. Standard output gives one line: `Built` or `Refused`.
Started by `lab.py`; nothing outside the new namespaces is touched.
"""

import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from benchmarks.wan import namespace, plan
from benchmarks.wan.delay_line import DelayLine
from benchmarks.wan.topology import Topology
from benchmarks.wan.tun import PACKET_BYTES, open_tun
from swarm.clock import process_s

_NICENESS = -10
"""A delayed wake-up would be a longer link: where the system lets it, this process goes first."""
_READS_IN_A_ROW = 64
_COMMANDS = {"ip": ("ip", "-batch", "-"), "tc": ("tc", "-batch", "-"), "nft": ("nft", "-f", "-")}


class Built(msgspec.Struct, frozen=True, tag=True):
    """The lab stands."""

    descriptors: dict[str, int]
    """This process's descriptor of each namespace: /proc/<pid>/fd/<descriptor> is the file to enter."""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The system does not let it stand."""

    cause: str


Answer = Built | Refused


def main() -> None:
    """Entry point of the process."""
    topology = msgspec.json.decode(sys.stdin.buffer.readline(), type=Topology)
    try:
        descriptors, tun = _build(topology)
    except OSError as error:
        _answer(Refused(_one_line(error)))
        return
    _answer(Built(descriptors))
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    _carry(tun, DelayLine(topology))


def _build(topology: Topology) -> tuple[dict[str, int], int]:
    descriptors = {name: namespace.leave_for_new() for name in plan.namespaces(topology)}
    namespace.enter(descriptors[plan.CORE])
    # A lost super packet would be dozens of losses in a row: with loss, the core sees single ones.
    tun = open_tun(plan.TUN, super_packets=topology.loss == 0)
    for step in plan.steps(topology, lambda name: f"/proc/{os.getpid()}/fd/{descriptors[name]}"):
        namespace.enter(descriptors[step.namespace])
        _run(step)
    namespace.enter(descriptors[plan.CORE])
    return descriptors, tun


def _run(step: plan.Step) -> None:
    if step.tool == "sysctl":
        for line in step.lines:
            path, value = line.split("=")
            # A kernel without IPv6 has no switch to turn it off.
            if (Path("/proc/sys") / path).exists():
                (Path("/proc/sys") / path).write_text(value)
        return
    text = "\n".join(step.lines) + "\n"
    done = subprocess.run(_COMMANDS[step.tool], input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise OSError(f"`{step.tool}` refused to build the lab's {step.namespace}: {said}")


def _carry(tun: int, line: DelayLine) -> None:
    """Moves packets until standard input ends."""
    parent = sys.stdin.fileno()
    while True:
        ready, _, _ = select.select([tun, parent], [], [], line.wait_s(process_s()))
        if parent in ready:
            return
        now_s = process_s()
        if tun in ready:
            with suppress(BlockingIOError):  # all read
                for _ in range(_READS_IN_A_ROW):
                    line.put(os.read(tun, PACKET_BYTES), now_s)
        for packet in line.take_due(now_s):
            os.write(tun, packet)


def _answer(answer: Answer) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


def _one_line(error: OSError) -> str:
    if error.errno is None:
        return str(error)
    return f"{error.strerror}: {error.filename}" if error.filename else (error.strerror or str(error))


if __name__ == "__main__":
    main()
