"""What a node process may open: its state, its papers and what Python needs. The data is not in the list.

Landlock, put on between fork and exec; what the node starts (p2pd) inherits it. On a kernel without Landlock the node
is as free as the user who started it, and says so.
"""

import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from swarm.isolation import landlock, places
from swarm.node.config import NodeConfig

_SETTINGS = ("/etc", "/proc", "/sys", "/run/systemd/resolve")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_SEMAPHORES = "/dev/shm"
"""hivemind makes a lock of `multiprocessing` when it is imported."""
_HIVEMIND_SOCKETS = "/tmp"
"""hivemind makes the sockets over which p2pd calls back here, and nowhere else."""


def temporary_folder() -> Path:
    """This user's own folder for the nodes' temporary files, so that nothing else in /tmp need be open to them."""
    folder = Path(tempfile.gettempdir(), f"tapestry-{os.getuid()}")
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
    mine = folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid()
    return folder if mine else Path(tempfile.mkdtemp(prefix="tapestry-nodes-"))


def rules(settings: NodeConfig, temporary: Path) -> landlock.Rules:
    """What the node with these settings needs."""
    named = (settings.identity, settings.passport, settings.charter, settings.restart)
    papers = [path for path in named if path is not None]
    if settings.charter is not None:
        papers.append(str(Path(settings.charter).with_suffix("")) + ".state0.safetensors")
    return landlock.Rules(
        run=places.python(),
        read=(*_SETTINGS, *papers),
        write=(settings.state, str(temporary), _SEMAPHORES),
        use=_DEVICES,
        sockets=(_HIVEMIND_SOCKETS,),
    )


@dataclass(frozen=True)
class Walls:
    """What a node process will be kept in."""

    ruleset: int | None
    """Descriptor of the rules, to be closed; None if there are none."""
    hide_data: bool
    sentence: str


def build(settings: NodeConfig, temporary: Path, data: Sequence[Path]) -> Walls:
    """The walls for a node whose peer trains on `data`."""
    if landlock.abi() < landlock.MIN_ABI:
        cause = "this kernel has no Landlock (Linux 5.19 or later has)"
        return Walls(None, False, f"nothing but its program keeps the node process from the data: {cause}")
    if not Path(settings.state).is_dir():
        return Walls(None, False, "the node process has no state folder to be kept in")
    allowed = rules(settings, temporary)
    ruleset = landlock.make_ruleset(allowed)
    if shared := places.overlap(data, (*allowed.run, *allowed.read, *allowed.write)):
        cause = f"{shared[0]} overlaps with {shared[1]}, which the node needs: move one of them"
        return Walls(ruleset, False, f"nothing but its program keeps the node process from the data: {cause}")
    hidden = "the data" if data else "files outside its state folder"
    return Walls(ruleset, True, f"the node process and its daemon cannot open {hidden} (Landlock {landlock.abi()})")
