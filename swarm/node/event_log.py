"""Where a node's events go: one JSON line each, on stdout for whoever started it and in the state folder to stay.

A line that a full disk or a power cut has torn is closed before the next one, so that only it is lost.
"""

import os
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
            self._file = self._path.open("ab+", buffering=0)
            if self._file.seek(0, os.SEEK_END):
                self._file.seek(-1, os.SEEK_END)
                if self._file.read(1) != b"\n":
                    self._file.write(b"\n")
        except OSError as error:
            raise StateError(f"cannot write {self._path}: {error.strerror}") from None

    def __call__(self, event: events.AnyEvent) -> None:
        """Raises StateError when the disk refuses."""
        line = events.encode_line(unix_s(), event)
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        try:
            while line:
                line = line[self._file.write(line) :]  # an unbuffered write may take only a part; the next says why
        except OSError as error:
            raise StateError(f"cannot write {self._path}: {error.strerror}") from None
