"""What a process group costs, read from Linux's /proc: CPU seconds, memory, bytes sent over TCP.

Each worker of a bench leads a process group of its own, so the group is the worker with everything it started
(averager processes, libp2p daemons), whoever their parent is by now. Children that left the group for a session
of their own, as our daemon does, are found by their parent. Reading costs the observed processes nothing.
"""

import os
import signal
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_KIB = 1024
_GONE = (FileNotFoundError, ProcessLookupError)

# Fields of /proc/<pid>/stat after the command's closing parenthesis (proc_pid_stat(5), field 3 is index 0).
_PPID, _PGRP, _UTIME, _CSTIME = 1, 2, 11, 14

# Netlink socket diagnostics: linux/sock_diag.h, linux/inet_diag.h, struct tcp_info of linux/tcp.h.
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x1 | 0x300
_DONE, _ERROR = 3, 2
_INET_DIAG_INFO = 2
_ALL_STATES = 0xFFFF_FFFF
_HEADER_BYTES, _DIAG_BYTES = 16, 72
_INODE_AT = _HEADER_BYTES + 68
_BYTES_SENT_AT = 200
_RECEIVE_BYTES = 1 << 18


def members(group: int) -> tuple[int, ...]:
    """Process ids in the group `group`, and of all their descendants."""
    found: set[int] = set()
    children: dict[int, list[int]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            with suppress(*_GONE):
                pid, fields = int(folder.name), _stat_fields(int(folder.name))
                children.setdefault(int(fields[_PPID]), []).append(pid)
                if int(fields[_PGRP]) == group:
                    found.add(pid)
    unseen = list(found)
    while unseen:
        born = [pid for pid in children.get(unseen.pop(), ()) if pid not in found]
        found.update(born)
        unseen += born
    return tuple(sorted(found))


def cpu_s(pids: Sequence[int]) -> float:
    """User and system seconds used so far by these processes and by children of theirs that have ended."""
    ticks = 0
    for pid in pids:
        with suppress(*_GONE):
            ticks += sum(int(field) for field in _stat_fields(pid)[_UTIME : _CSTIME + 1])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_bytes(pids: Sequence[int]) -> int:
    """Private memory of all these processes plus the shared memory of the one that maps most of it.

    Adding up resident sizes would count a shared tensor once per process that touched it. Files (libraries)
    are left out.
    """
    private, shared = 0, 0
    for pid in pids:
        with suppress(*_GONE):
            fields = dict(
                line.split(":", 1) for line in (_PROC / str(pid) / "status").read_text().splitlines() if ":" in line
            )
            if "RssAnon" in fields:  # a process that has just ended has no memory lines
                private += int(fields["RssAnon"].split()[0]) * _KIB
                shared = max(shared, int(fields["RssShmem"].split()[0]) * _KIB)
    return private + shared


def kill(group: int) -> None:
    """Ends every process of the group at once."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def tcp_bytes_sent() -> dict[int, int]:
    """Bytes each TCP socket of this network namespace has sent so far, retransmissions included, by inode."""
    return {inode: sent for family in (socket.AF_INET, socket.AF_INET6) for inode, sent in _tcp_sockets(family)}


def socket_inodes(pids: Sequence[int]) -> frozenset[int]:
    """Inodes of all sockets these processes hold open."""
    inodes: set[int] = set()
    for pid in pids:
        with suppress(*_GONE):
            for descriptor in (_PROC / str(pid) / "fd").iterdir():
                with suppress(*_GONE):
                    kind, _, number = str(descriptor.readlink()).partition(":[")
                    if kind == "socket":
                        inodes.add(int(number.rstrip("]")))
    return frozenset(inodes)


def _stat_fields(pid: int) -> list[str]:
    return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _tcp_sockets(family: int) -> Iterator[tuple[int, int]]:
    request = struct.pack("=BBBxI", family, socket.IPPROTO_TCP, 1 << (_INET_DIAG_INFO - 1), _ALL_STATES) + bytes(48)
    header = struct.pack("=IHHII", _HEADER_BYTES + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG) as link:
        link.send(header + request)
        while True:
            data, at = link.recv(_RECEIVE_BYTES), 0
            while at < len(data):
                length, kind = struct.unpack_from("=IH", data, at)
                if kind == _DONE:
                    return
                if kind == _ERROR:
                    code = -struct.unpack_from("=i", data, at + _HEADER_BYTES)[0]
                    raise OSError(code, os.strerror(code))
                yield struct.unpack_from("=I", data, at + _INODE_AT)[0], _bytes_sent(data[at : at + length])
                at += -(-length // 4) * 4


def _bytes_sent(message: bytes) -> int:
    at = _HEADER_BYTES + _DIAG_BYTES
    while at < len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        if kind == _INET_DIAG_INFO:
            return struct.unpack_from("=Q", message, at + 4 + _BYTES_SENT_AT)[0]
        at += -(-length // 4) * 4
    return 0
