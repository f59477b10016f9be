"""What a process may open, as a list of folders and files it is given; everything else is denied (Landlock).

A ruleset is built by one process and can be put on by another that was forked from it, just before it starts a program:
the program has never been without it. Stays in force for everything started later.
"""

import errno
import os
import stat
import struct
from collections.abc import Iterable
from typing import NamedTuple

from swarm.isolation.kernel import is_supported, keep_from_new_privileges, system_call

MIN_ABI = 2
"""Linux 5.19; before it files cannot be renamed from folder to folder at all, which a state folder needs."""

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REMOVE_FILE, _MAKE_SOCK = 1 << 5, 1 << 9
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | 1 << 14 | 1 << 15
"""Rights that a file can have; the others are a folder's. Bits 14 and 15: truncate, ioctl on a device."""
_ALL_BY_ABI = {2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL = (1 << 16) - 1
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6
_ALL_TCP = 3
_ALL_SCOPES = 3
"""Abstract unix sockets and signals of processes outside."""
_VERSION_FLAG = 1
_PATH_BENEATH = 1


class Rules(NamedTuple):
    """Paths with everything below them; those that do not exist are left out."""

    run: tuple[str, ...] = ()
    """May be read and executed."""
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    """May be read, written, made and removed."""
    use: tuple[str, ...] = ()
    """Devices: may be read and written."""
    sockets: tuple[str, ...] = ()
    """Unix sockets may be made here, and files removed; nothing may be read."""
    without_network: bool = False
    """No TCP, no abstract unix socket of others and no signal to them, where the kernel knows how."""


def abi() -> int:
    """The kernel's version of Landlock; 0 without it."""
    if not is_supported():
        return 0
    try:
        return system_call("landlock_create_ruleset", None, 0, _VERSION_FLAG)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return 0
        raise


def make_ruleset(rules: Rules) -> int:
    """A descriptor of the rules, for `restrict_self`; closes with the next program. Raises OSError."""
    version = abi()
    if version < MIN_ABI:
        raise OSError(errno.EOPNOTSUPP, "no Landlock")
    every = _ALL_BY_ABI.get(version, _ALL)
    network = _ALL_TCP if rules.without_network and version >= _NETWORK_SINCE else 0
    scopes = _ALL_SCOPES if rules.without_network and version >= _SCOPES_SINCE else 0
    size = 24 if version >= _SCOPES_SINCE else 16 if version >= _NETWORK_SINCE else 8
    ruleset = system_call("landlock_create_ruleset", struct.pack("=QQQ", every, network, scopes)[:size], size, 0)
    try:
        _allow(ruleset, rules.run, (_READ_FILE | _READ_DIR | _EXECUTE) & every)
        _allow(ruleset, rules.read, (_READ_FILE | _READ_DIR) & every)
        _allow(ruleset, rules.write, every & ~_EXECUTE)
        _allow(ruleset, rules.use, (_READ_FILE | _WRITE_FILE | 1 << 15) & every)
        _allow(ruleset, rules.sockets, (_MAKE_SOCK | _REMOVE_FILE) & every)
    except BaseException:
        os.close(ruleset)
        raise
    return ruleset


def restrict_self(ruleset: int) -> None:
    """Puts the rules on this thread and on all it starts, for good. Raises OSError."""
    keep_from_new_privileges()
    system_call("landlock_restrict_self", ruleset, 0)


def _allow(ruleset: int, paths: Iterable[str], rights: int) -> None:
    for path in paths:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue  # what is not there, or cannot be reached anyway, needs no permission
        try:
            folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
            granted = rights if folder else rights & _OF_A_FILE
            if granted:
                rule = struct.pack("=Qi", granted, descriptor)
                system_call("landlock_add_rule", ruleset, _PATH_BENEATH, rule, 0)
        finally:
            os.close(descriptor)
