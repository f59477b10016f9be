"""The right to make network namespaces: root has it, others get it as root of a user namespace, where allowed."""

import os
import shutil
import subprocess
import sys

from benchmarks.wan import tun
from swarm.errors import TapestryError

_UNSHARE = ("unshare", "--user", "--map-root-user", "--")


def become_root_of_a_user_namespace() -> None:
    """Starts this very command again inside a user namespace; returns at once for root.

    Outside of the namespace the user stays who they are: nothing is gained but namespaces of their own.

    Raises:
        TapestryError: the system does not allow it; the message says what would.
    """
    if os.geteuid() == 0:
        return
    if shutil.which(_UNSHARE[0]) is None:
        raise TapestryError("`unshare` is not installed: it comes with the package util-linux")
    probe = subprocess.run([*_UNSHARE, "unshare", "--net", "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        raise TapestryError(
            "this system lets only root make network namespaces "
            f"({probe.stderr.strip().splitlines()[0] if probe.stderr.strip() else 'no reason given'}): run as root, "
            "or allow unprivileged user namespaces"
        )
    if not os.access(tun.DEVICE, os.R_OK | os.W_OK):
        raise TapestryError(f"{tun.DEVICE} is open to root only: run as root, or `chmod 666` it as most systems do")
    arguments = sys.orig_argv[1:]
    os.execvp(_UNSHARE[0], [*_UNSHARE, sys.executable, *arguments])
