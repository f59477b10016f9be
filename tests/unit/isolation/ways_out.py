"""Tries every way out of a confinement it knows, and writes what came of each. Run as a program, standard library only.

    python ways_out.py TARGETS_JSON REPORT

Each way is a function that returns if it got out and raises OSError if it was refused; the report is {way: "out" or the
error's name}. The same program run without confinement shows that the ways are real.
"""

import ctypes
import errno
import fcntl
import json
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable

NUMBERS = {
    "io_uring_setup": (425, 425),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "setns": (308, 268),
    "unshare": (272, 97),
    "clone": (56, 220),
    "clone3": (435, 435),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "pidfd_open": (434, 434),
    "mount": (165, 40),
    "userfaultfd": (323, 282),
    "open_by_handle_at": (304, 265),
}
COLUMN = 0 if platform.machine() == "x86_64" else 1
LIBC = ctypes.CDLL(None, use_errno=True)
NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000
PTRACE_ATTACH, PTRACE_DETACH = 16, 17


def call(name: str, *arguments: object) -> int:
    wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result = LIBC.syscall(ctypes.c_long(NUMBERS[name][COLUMN]), *wide)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def ways(targets: dict) -> dict[str, Callable[[], object]]:
    parent, port = targets["parent"], targets["port"]

    def tcp() -> None:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()

    def udp() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"data", ("127.0.0.1", port))

    def dns() -> None:
        socket.getaddrinfo("example.org", 80)

    def kind(family: int, type_: int) -> Callable[[], None]:
        return lambda: socket.socket(family, type_).close()

    def unix(address: str | bytes) -> Callable[[], None]:
        def connect() -> None:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(address)

        return connect

    def datagram_pair() -> None:
        one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        one.sendto(b"data", targets["datagram"])

    def reconnect_pair() -> None:
        one, _ = socket.socketpair()
        one.connect(targets["socket"])

    def ptrace() -> None:
        call("ptrace", PTRACE_ATTACH, targets["bystander"], 0, 0)
        os.waitpid(targets["bystander"], 0x40000000)
        call("ptrace", PTRACE_DETACH, targets["bystander"], 0, 0)

    def read_memory() -> None:
        buffer = ctypes.create_string_buffer(8)
        here = (ctypes.c_ulong * 2)(ctypes.addressof(buffer), 8)
        there = (ctypes.c_ulong * 2)(targets["address"], 8)
        call("process_vm_readv", parent, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)

    def enter(path: str) -> Callable[[], None]:
        def setns() -> None:
            descriptor = os.open(path, os.O_RDONLY)
            call("setns", descriptor, 0)

        return setns

    def fork_into(flags: int) -> None:
        child = call("clone", flags | signal.SIGCHLD, 0, 0, 0, 0)
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    def new_namespaces_by_clone3() -> None:
        arguments = ctypes.create_string_buffer(
            struct.pack("=QQQQQ", NEW_USER, 0, 0, 0, signal.SIGCHLD) + bytes(48), 88
        )
        child = call("clone3", arguments, 88)
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    def read(path: str) -> Callable[[], None]:
        def open_it() -> None:
            with open(path, "rb") as file:
                file.read(1)

        return open_it

    def write(path: str) -> Callable[[], None]:
        def open_it() -> None:
            with open(path, "ab") as file:
                file.write(b"data")

        return open_it

    def send_descriptor() -> None:
        one, _ = socket.socketpair()
        socket.send_fds(one, [b"x"], [0])

    def other_descriptors() -> None:
        given = (os.environ.get(name) for name in ("TAPESTRY_CONTROL_FD", "TAPESTRY_SHARED_FD"))
        known = {0, 1, 2, *(int(text) for text in given if text)}
        for name in os.listdir("/proc/self/fd"):
            descriptor = int(name)
            try:
                flags = fcntl.fcntl(descriptor, fcntl.F_GETFD)
            except OSError:
                continue  # the folder being listed
            if descriptor not in known and not flags & fcntl.FD_CLOEXEC:
                return
        raise OSError(errno.EBADF, "none")

    def capabilities() -> None:
        """Also in a program started from here: root's user id must not bring them back."""
        done = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True)
        held = [int(line.split()[1], 16) for line in done.stdout.splitlines() if line.startswith(("CapEff", "CapPrm"))]
        if not any(held):
            raise OSError(errno.EPERM, "no capability")

    def see_others() -> None:
        os.stat(f"/proc/{parent}/cmdline")
        with open(f"/proc/{parent}/cmdline", "rb") as file:
            if file.read() != bytes.fromhex(targets["cmdline"]):
                raise OSError(errno.ESRCH, "another process of that number")

    def signal_by(pid: int) -> Callable[[], None]:
        return lambda: os.kill(pid, 0)

    def handle() -> None:
        call("open_by_handle_at", os.open("/", os.O_RDONLY), ctypes.create_string_buffer(bytes(16)), 0)

    return {
        "tcp": tcp,
        "udp": udp,
        "dns": dns,
        "tcp6": kind(socket.AF_INET6, socket.SOCK_STREAM),
        "raw": kind(socket.AF_INET, socket.SOCK_RAW),
        "netlink": kind(16, socket.SOCK_RAW),
        "packet": kind(17, socket.SOCK_RAW),
        "vsock": kind(40, socket.SOCK_STREAM),
        "unix socket by path": unix(targets["socket"]),
        "unix socket by abstract name": unix("\0" + targets["abstract"]),
        "datagram pair": datagram_pair,
        "pair connected anew": reconnect_pair,
        "sight of host sockets": lambda: os.stat(targets["socket"]),
        "io_uring": lambda: os.close(call("io_uring_setup", 4, ctypes.create_string_buffer(120))),
        "ptrace": ptrace,
        "memory by process_vm_readv": read_memory,
        "memory by /proc": read(f"/proc/{parent}/mem"),
        "root by /proc": lambda: os.listdir(f"/proc/{parent}/root/"),
        "descriptors by /proc": lambda: os.readlink(f"/proc/{parent}/fd/0"),
        "memory of the guard": read("/proc/1/mem"),
        "root of the guard": lambda: os.listdir("/proc/1/root/"),
        "network namespace of the parent": enter(f"/proc/{parent}/ns/net"),
        "mount namespace of the parent": enter(f"/proc/{parent}/ns/mnt"),
        "network namespace of the guard": enter("/proc/1/ns/net"),
        "setns at all": enter("/proc/self/ns/net"),
        "unshare": lambda: call("unshare", NEW_USER | NEW_NETWORK),
        "clone with namespaces": lambda: fork_into(NEW_USER),
        "clone3 with namespaces": new_namespaces_by_clone3,
        "keyring": lambda: call("keyctl", 0, -3, 0, 0, 0),
        "bpf": lambda: call("bpf", 0, 0, 0),
        "perf": lambda: call("perf_event_open", 0, 0, -1, -1, 0),
        "pidfd": lambda: os.close(call("pidfd_open", os.getpid(), 0)),
        "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, 0),
        "file by handle": handle,
        "reading outside": read(targets["secret"]),
        "reading the state folder": read(targets["state"]),
        "reading passwords": read("/etc/shadow"),
        "writing outside": write(targets["secret"]),
        "writing the data": write(targets["data"]),
        "writing programs": write(targets["program"]),
        "making a file outside": write(targets["beside"]),
        "making a file in the root": write("/new"),
        "changing the kernel": write("/proc/sys/kernel/core_pattern"),
        "SCM_RIGHTS": send_descriptor,
        "inherited descriptors": other_descriptors,
        "capabilities": capabilities,
        "sight of other processes": see_others,
        "signals": signal_by(parent),
        "signals to a bystander": signal_by(targets["bystander"]),
    }


def main() -> None:
    targets = json.loads(sys.argv[1])
    came_of: dict[str, str] = {}
    for name, way in ways(targets).items():
        if name in targets["harmful"]:
            continue
        try:
            way()
            came_of[name] = "out"
        except OSError as error:
            came_of[name] = errno.errorcode.get(error.errno or 0, type(error).__name__)
    with open(targets["data"], "rb") as file:
        came_of["reading the data"] = "out" if file.read() else "empty"
    with open(sys.argv[2], "w") as file:
        json.dump(came_of, file)


if __name__ == "__main__":
    main()
