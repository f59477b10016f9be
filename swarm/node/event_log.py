"""Where a node's events go: one JSON line each, on stdout for whoever started it and in the state folder to stay."""

import sys
from pathlib import Path

from swarm import events
from swarm.clock import unix_s
from swarm.errors import StateError


class EventLog:
    """The sink of a node: each event as one line on stdout and in the state folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "events.jsonl"
        try:
            self._file = self._path.open("ab", buffering=0)
        except OSError as error:
            raise StateError(f"cannot write {self._path}: {error.strerror}") from None

    def __call__(self, event: events.AnyEvent) -> None:
        """Raises StateError when the disk refuses."""
        line = events.encode_line(unix_s(), event)
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        try:
            self._file.write(line)
        except OSError as error:
            raise StateError(f"cannot write {self._path}: {error.strerror}") from None
