"""What a container or a service may still take of the machine's memory: control groups, version 2 and 1.

/proc/meminfo tells of the whole machine, inside a container too; the limit that ends a peer there is the group's.
"""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def left_bytes(membership: str, root: Path = ROOT) -> int | None:
    """What is left within the tightest limit of this process's groups; None where there is no limit.

    Args:
        membership: the content of /proc/self/cgroup.
        root: where the groups are mounted.
    """
    found = [left for folder in _folders(membership, root) if (left := _left_in(folder)) is not None]
    return min(found, default=None)


def _folders(membership: str, root: Path) -> Iterator[Path]:
    """This process's group and those above it, in each hierarchy that counts memory."""
    for line in membership.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        bases = (root, root / "unified") if number == "0" else (root / "memory",)
        if number != "0" and "memory" not in controllers.split(","):
            continue
        for base in bases:
            group = base / path.strip("/")
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(base))


def _left_in(folder: Path) -> int | None:
    for limit, used, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        limit_bytes, used_bytes = _number(folder / limit), _number(folder / used)
        if limit_bytes is not None and used_bytes is not None:
            return max(0, limit_bytes - used_bytes + _cached(folder / "memory.stat", cache))
    return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max" is no number either
        return None


def _cached(path: Path, name: str) -> int:
    """Pages of files that the kernel takes back when it needs memory."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), 0)
