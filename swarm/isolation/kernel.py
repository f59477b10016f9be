"""System calls that Python has no function for, on x86-64 and 64-bit Arm. Light: standard library only."""

import ctypes
import os
import platform
import struct
import sys

MACHINE = platform.machine()
LIBC = ctypes.CDLL(None, use_errno=True)
"""Loaded before any fork: loading is not safe after one."""
_COLUMN = {"x86_64": 0, "aarch64": 1}.get(MACHINE)

_NUMBERS: dict[str, tuple[int, int]] = {
    "accept": (43, 202),
    "accept4": (288, 242),
    "acct": (163, 89),
    "add_key": (248, 217),
    "bind": (49, 200),
    "bpf": (321, 280),
    "capset": (126, 91),
    "chroot": (161, 51),
    "clone": (56, 220),
    "clone3": (435, 435),
    "connect": (42, 203),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "landlock_add_rule": (445, 445),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "listen": (50, 201),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "sendmmsg": (307, 269),
    "sendmsg": (46, 211),
    "setns": (308, 268),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
}

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_SECUREBITS = 28
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_NO_ROOT_LOCKED = 0x2F
"""Root's user id means nothing, set user ids neither, and this cannot be taken back (SECBIT_*)."""
_CAPABILITY_VERSION_3 = 0x20080522
_SIGKILL = 9


def is_supported() -> bool:
    """Whether this is Linux on a processor whose system call numbers are known here."""
    return sys.platform == "linux" and _COLUMN is not None


def number(name: str) -> int:
    assert _COLUMN is not None, "asked is_supported first"
    return _NUMBERS[name][_COLUMN]


def system_call(name: str, *arguments: int | bytes | None) -> int:
    """Makes a system call; bytes are passed as a pointer to them. Raises OSError."""
    converted = [ctypes.c_long(each) if isinstance(each, int) else ctypes.c_char_p(each) for each in arguments]
    return checked(LIBC.syscall(ctypes.c_long(number(name)), *converted), name)


def prctl(option: int, *arguments: int) -> int:
    """Raises OSError."""
    values = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)[:4]]
    return checked(LIBC.prctl(option, *values), "prctl")


def die_with_parent() -> None:
    """From now on this process is killed when the thread that forked it ends (Linux)."""
    if sys.platform == "linux":
        prctl(_PR_SET_PDEATHSIG, _SIGKILL)


def keep_from_new_privileges() -> None:
    """No program started from here gains anything by being set-user-id or having file capabilities."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def hide_memory() -> None:
    """Nobody without capabilities may trace this process or open its memory, until it starts another program."""
    prctl(_PR_SET_DUMPABLE, 0)


def drop_capabilities() -> None:
    """Gives up every capability, and the means to get one back. Raises OSError."""
    try:
        prctl(_PR_SET_SECUREBITS, _NO_ROOT_LOCKED)
        for capability in range(64):
            prctl(_PR_CAPBSET_DROP, capability)
    except OSError:
        pass  # an ordinary user has none to give up, and numbers end where the kernel's capabilities do
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    system_call("capset", header, bytes(24))


def checked(result: int, name: str) -> int:
    """What a C function returned, unless it is an error. Raises OSError."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)
    return result
