"""The system calls a trainer is refused: raw BPF for the kernel's seccomp filter, no library.

Refused are new sockets of every kind (internet, vsock, netlink, unix by path or abstract name), sending descriptors,
io_uring (which would do all of that unseen), other processes' memory and descriptors, namespaces and mounts, the
kernel's key rings, and what only an administrator needs. Left are pairs of connected unix sockets: event loops and
`multiprocessing` use them between processes that are all confined alike. They are streams or packets, since a datagram
socket could be connected anew.
"""

import ctypes
import errno
import struct
from collections.abc import Iterable

from swarm.isolation.kernel import MACHINE, number, prctl

REFUSED = (
    *("socket", "connect", "bind", "listen", "accept", "accept4", "sendmsg", "sendmmsg"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_open", "pidfd_getfd"),
    *("setns", "unshare", "mount", "umount2", "pivot_root", "chroot", "mount_setattr", "open_tree", "move_mount"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "name_to_handle_at", "open_by_handle_at"),
    *("keyctl", "add_key", "request_key", "bpf", "perf_event_open", "userfaultfd"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load"),
    *("swapon", "swapoff", "reboot", "acct", "quotactl", "quotactl_fd", "syslog"),
)

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_FIRST = 0x40000000
"""x86-64's second table of system calls begins here: nothing uses it, and it would bypass the list."""
_CLONE_NEW_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
"""Typing into somebody's terminal."""
_AF_UNIX, _SOCK_STREAM, _SOCK_SEQPACKET = 1, 1, 5
_SOCK_TYPE_MASK = 0xF
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_AT_NUMBER, _AT_ARCH = 0, 4


def trainer_filter() -> bytes:
    """The program for a trainer."""
    refuse = _return(_ERROR | errno.EPERM)
    # Libraries fall back to `clone`, whose flags a filter can see, when there is no `clone3`.
    return b"".join(
        (
            *_check_table(),
            *_refuse(REFUSED, errno.EPERM),
            *_refuse(("clone3",), errno.ENOSYS),
            *_when("clone", _argument(0), _step(_ANY_BIT, _CLONE_NEW_NAMESPACES, 0, 1), refuse),
            *_when(
                "socketpair",
                *(_argument(0), _step(_EQUAL, _AF_UNIX, 1, 0), refuse),
                *(_argument(1), _step(_AND, _SOCK_TYPE_MASK)),
                *(_step(_EQUAL, _SOCK_STREAM, 2, 0), _step(_EQUAL, _SOCK_SEQPACKET, 1, 0), refuse),
            ),
            *_when("ioctl", _argument(1), _step(_EQUAL, _TIOCSTI, 1, 0), _step(_EQUAL, _TIOCLINUX, 0, 1), refuse),
            _return(_ALLOW),
        )
    )


def refusing(names: Iterable[str], code: int) -> bytes:
    """A program that answers these calls with an error number and lets all others pass."""
    return b"".join((*_check_table(), *_refuse(names, code), _return(_ALLOW)))


def install(program: bytes) -> None:
    """Puts this process, which must have one thread, and all it starts under `program`. Raises OSError."""
    buffer = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer)))
    prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(header))


def _check_table() -> tuple[bytes, ...]:
    """Kills what calls by another processor's table (32 bit), then loads the number."""
    x32 = (_step(_AT_LEAST, _X32_FIRST, 0, 1), _return(_ERROR | errno.EPERM)) if MACHINE == "x86_64" else ()
    return (
        _step(_LOAD, _AT_ARCH),
        _step(_EQUAL, _AUDIT_ARCH[MACHINE], 1, 0),
        _return(_KILL),
        _step(_LOAD, _AT_NUMBER),
        *x32,
    )


def _refuse(names: Iterable[str], code: int) -> tuple[bytes, ...]:
    return tuple(step for name in names for step in (_step(_EQUAL, number(name), 0, 1), _return(_ERROR | code)))


def _when(name: str, *steps: bytes) -> tuple[bytes, ...]:
    """Steps for one call, which end by loading its number again: no other call passes through them."""
    body = (*steps, _step(_LOAD, _AT_NUMBER))
    return (_step(_EQUAL, number(name), 0, len(body)), *body)


def _argument(index: int) -> bytes:
    """Loads the lower half of an argument; flags and types fit into it."""
    return _step(_LOAD, 16 + 8 * index)


def _return(action: int) -> bytes:
    return _step(_RETURN, action)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One BPF instruction: struct sock_filter."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
