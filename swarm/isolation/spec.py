"""What a launcher is told, as JSON on its standard input. Standard library only: the launcher has nothing else."""

import json
from typing import Any, NamedTuple, cast

FAILED = 1
CAUSE = "tapestry-cause: "
"""Begins the line with which a process tells the one that started it why it ended."""


class Spec(NamedTuple):
    parent_pid: int
    """Who starts the launcher; it dies with that process."""
    command: tuple[str, ...]
    control_fd: int
    """Socket to the node."""
    shared_fd: int
    """Shared vectors."""
    run: tuple[str, ...]
    """Folders and files that may be read and executed."""
    read: tuple[str, ...]
    """Folders that may be read: the data."""
    files: tuple[str, ...]
    """Single files that may be read."""
    write: tuple[str, ...]
    """The scratch folder."""
    root: str
    """An empty folder, on which the program's own file system is built."""
    folder: str
    """The program's working folder; `/` if it does not see it."""
    required: str
    """The level below which nothing is started."""

    @property
    def descriptors(self) -> tuple[int, int]:
        return self.control_fd, self.shared_fd

    def encode(self) -> bytes:
        return json.dumps(self._asdict()).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Spec":
        fields: dict[str, Any] = json.loads(data)
        for name, value in fields.items():
            if isinstance(value, list):
                fields[name] = tuple(cast("list[str]", value))
        return cls(**fields)
