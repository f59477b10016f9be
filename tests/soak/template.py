"""The template: imports once what a peer imports, then forks a family for every peer (`python -m tests.soak.template`).

A start through `tapestry peer` spends seconds of processor time importing; ten of them and a restart every few seconds
would leave two cores nothing else to do. A fork shares the imported pages and costs milliseconds. It stays one thread
without an event loop for all its life: whatever is forked from it starts as clean as a fresh interpreter.
"""

import gc
import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

from peers.trainer import TrainerConfig
from swarm.net.lifeline import die_with_parent
from swarm.node.config import NodeConfig

_LOOK_EVERY_S = 0.05
_READ_BYTES = 65_536


class Start(msgspec.Struct, frozen=True, tag=True):
    """One family to be forked; descriptors and parents in the two configurations are filled in by it."""

    name: str
    node: NodeConfig
    trainer: TrainerConfig
    traced: bool = False
    """Whether its node says what its memory is made of (`attribution.py`)."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The template has imported everything."""

    threads: int
    """Its own: one, or its forks would not be clean."""


class Started(msgspec.Struct, frozen=True, tag=True):
    name: str
    pid: int


class Ended(msgspec.Struct, frozen=True, tag=True):
    pid: int
    code: int
    """As `os.waitstatus_to_exitcode` gives it: negative for a signal."""


FromTemplate = Ready | Started | Ended


class Template:
    """The driver's end: starts the template, asks it for families, and hears of their ends."""

    def __init__(self, scratch: Path) -> None:
        """`scratch` takes the daemons' control sockets: a short path, since a socket's may have 107 bytes."""
        self._socket, theirs = socket.socketpair()
        scratch.mkdir()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.template", str(theirs.fileno()), str(os.getpid())],
            pass_fds=(theirs.fileno(),),
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "TMPDIR": str(scratch)},
        )
        theirs.close()
        self._unread = b""

    def start(self, start: Start) -> None:
        self._socket.sendall(msgspec.json.encode(start) + b"\n")

    def heard(self, wait_s: float) -> list[FromTemplate]:
        """What it has said since, waiting for something for at most `wait_s`."""
        while select.select([self._socket], [], [], wait_s)[0]:
            data = self._socket.recv(_READ_BYTES)
            assert data, "the template has ended"
            self._unread += data
            wait_s = 0.0
        *lines, self._unread = self._unread.split(b"\n")
        return [_FROM_TEMPLATE.decode(line) for line in lines]

    def close(self) -> None:
        """Ends it and every family with it."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    die_with_parent(int(sys.argv[2]))
    warm_up()
    tell(control, Ready(len(os.listdir("/proc/self/task"))))
    unread = b""
    while True:
        readable = select.select([control], [], [], _LOOK_EVERY_S)[0]
        reap(control)
        if not readable:
            continue
        data = control.recv(_READ_BYTES)
        if not data:
            return
        *lines, unread = (unread + data).split(b"\n")
        for line in lines:
            fork_family(control, _START.decode(line))


def warm_up() -> None:
    """Everything a node and a trainer would import, the model's classes included."""
    import json

    import uvloop  # noqa: F401

    import swarm.node.process  # noqa: F401
    from peers import accumulation, batches, device  # noqa: F401
    from peers.model import build
    from swarm.node import optimizer  # noqa: F401
    from tests.integration.papers import MODEL

    build(json.dumps(MODEL))
    gc.collect()
    gc.freeze()


def fork_family(control: socket.socket, start: Start) -> None:
    """Forks, and says so; only the template returns from it."""
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        from tests.soak.family import run_family

        control.close()
        run_family(start.node, start.trainer, parent, traced=start.traced)
    tell(control, Started(start.name, pid))


def reap(control: socket.socket) -> None:
    """Says which families have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        tell(control, Ended(pid, os.waitstatus_to_exitcode(status)))


def tell(control: socket.socket, message: FromTemplate) -> None:
    control.sendall(msgspec.json.encode(message) + b"\n")


_FROM_TEMPLATE = msgspec.json.Decoder(FromTemplate)
_START = msgspec.json.Decoder(Start)

if __name__ == "__main__":
    main()
