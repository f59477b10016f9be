"""Which program made a model: its version, and a digest over its sources, so that a changed copy shows."""

from importlib.metadata import version
from pathlib import Path

from blake3 import blake3

import swarm
from peers.lineage.statement import Code

_PACKAGES = ("swarm", "peers")
DISTRIBUTION = "tapestry-swarm"


def code() -> Code:
    """Of the packages that are installed here."""
    root, tree = Path(swarm.__file__).parent.parent, blake3()
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            data = path.read_bytes()
            tree.update(f"{path.relative_to(root).as_posix()}\0{len(data)}\0".encode())
            tree.update(data)
    return Code(version=version(DISTRIBUTION), digest=tree.hexdigest())
