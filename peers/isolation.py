"""Cutting a trainer process off the network, as far as the kernel lets an ordinary user.

Level reached now: an empty network namespace (no route, no interface but a loopback that is down). Other namespaces,
seccomp and Landlock are not used; what is reported is what was done, nothing more.
"""

import ctypes
import os
import sys
from pathlib import Path

NETWORK_NAMESPACE = "network namespace"
NONE = "none"

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


def isolate() -> tuple[str, str]:
    """Moves this process into an empty network namespace; must run while it has one thread.

    Returns:
        The level reached and a sentence about it; on a lower level the sentence says what to do.
    """
    if sys.platform != "linux":
        return NONE, "only Linux has network namespaces"
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        _map_own_ids(uid, gid)
    elif uid != 0 or libc.unshare(_CLONE_NEWNET) != 0:
        cause = os.strerror(ctypes.get_errno())
        return NONE, f"the kernel refuses user namespaces ({cause}): see kernel.unprivileged_userns_clone and AppArmor"
    return NETWORK_NAMESPACE, f"empty network namespace, interfaces: {', '.join(_interfaces())}"


def _map_own_ids(uid: int, gid: int) -> None:
    """Keeps this user's own ids inside the new user namespace, so that files belong to whom they did."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        Path("/proc/self", name).write_text(text)


def _interfaces() -> list[str]:
    """Names of the interfaces this process sees; /proc/net follows the process's namespace, /sys does not."""
    lines = Path("/proc/net/dev").read_text().splitlines()[2:]
    return sorted(line.split(":", 1)[0].strip() for line in lines)
