"""How far a trainer can be confined here: the launcher is started with a program that does nothing, and asked."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from peers.doctor.finding import Finding, good, note, wrong
from swarm.isolation import landlock, levels
from swarm.isolation.start import Scratch, start_confined

_LIMIT_S = 20.0
_MAX_WORD_BYTES = 65536


class _Word(msgspec.Struct, frozen=True):
    """What the launcher says first."""

    isolation: str
    detail: str


def trainer() -> Finding:
    """The level a trainer reaches, by trying it."""
    node, end = socket.socketpair()
    with node, end, tempfile.TemporaryDirectory(prefix="tapestry-doctor-") as folder:
        shared_fd = os.memfd_create("shared")
        try:
            process = start_confined(
                (sys.executable, "-I", "-S", "-c", "pass"),
                control_fd=end.fileno(),
                shared_fd=shared_fd,
                programs=(),
                data=(),
                scratch=Scratch(Path(folder)),
                output=subprocess.DEVNULL,
                errors=subprocess.DEVNULL,
            )
            try:
                process.wait(_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        finally:
            os.close(shared_fd)
        node.setblocking(False)
        try:
            said = node.recv(_MAX_WORD_BYTES)
        except BlockingIOError:
            said = b""
    if not said:
        return wrong("trainer", f"the launcher ended with {process.returncode} and said nothing", "is Python whole?")
    word = msgspec.json.decode(said, type=_Word)
    return of_level(word.isolation, word.detail)


def of_level(level: str, detail: str) -> Finding:
    """The verdict on a level of `swarm.isolation.levels`."""
    if level == levels.CONFINED:
        return good("trainer", f"{level}: {detail}")
    return note("trainer", f'only "{level}"', f"{detail}; policies that demand more refuse to train here")


def node() -> Finding:
    """Whether the node can be kept from the data."""
    version = landlock.abi()
    if version >= landlock.MIN_ABI:
        return good("node", f"it and its daemon can be kept from the data (Landlock {version})")
    remedy = "use Linux 5.19 or later with landlock in the lsm= boot parameter"
    return note("node", "only its program keeps the node from the data: no Landlock here", remedy)
