"""Two network namespaces and the cable between them, which can be cut: everybody's packets are lost, nobody is told.

Needs root, or root of a user namespace (`benchmarks.wan.privilege`). A third namespace holds the cable's middle, so
that cutting it leaves every address where it is, as a broken line does.
"""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager

from swarm.net.lifeline import tie_to_parent

HOSTS = {"west": "10.77.0.1", "east": "10.77.0.2"}
_MIDDLE = "middle"


class Cable(AbstractContextManager["Cable"]):
    """Up while the context lasts; gone with its holder processes."""

    def __init__(self) -> None:
        self._holders: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Cable":
        for name in (*HOSTS, _MIDDLE):
            self._holders[name] = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"],
                stdout=subprocess.PIPE,
                preexec_fn=tie_to_parent(),
            )
            stdout = self._holders[name].stdout
            assert stdout is not None
            stdout.readline()  # it is in its namespace
            self._in(name, "ip", "link", "set", "lo", "up")
        self._in(_MIDDLE, "ip", "link", "add", "bridge", "type", "bridge")
        self._in(_MIDDLE, "ip", "link", "set", "bridge", "up")
        for name, address in HOSTS.items():
            pid = str(self._holders[name].pid)
            self._in(_MIDDLE, "ip", "link", "add", name, "type", "veth", "peer", "name", "cable", "netns", pid)
            self._in(_MIDDLE, "ip", "link", "set", name, "master", "bridge", "up")
            self._in(name, "ip", "address", "add", f"{address}/24", "dev", "cable")
            self._in(name, "ip", "link", "set", "cable", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for holder in self._holders.values():
            holder.kill()
            holder.wait()
            assert holder.stdout is not None
            holder.stdout.close()

    def command(self, name: str) -> Sequence[str]:
        """What starts `tapestry` on one side."""
        return (*self._words(name), sys.executable, "-m", "peers")

    def cut(self) -> None:
        self._in(_MIDDLE, "ip", "link", "set", "west", "down")

    def mend(self) -> None:
        self._in(_MIDDLE, "ip", "link", "set", "west", "up")

    def _words(self, name: str) -> tuple[str, ...]:
        return ("nsenter", "--target", str(self._holders[name].pid), "--net", "--")

    def _in(self, name: str, *words: str) -> None:
        done = subprocess.run([*self._words(name), *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)} in {name}: {done.stderr.strip()}"
