"""Everything the peers of a soak have said so far, read from their event files as they grow.

Raises when two peers, or two lives of one, say different states of one round; keeps what goodput and growth are made
of. Which peers are alive it does not know.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from swarm import events
from swarm.identity.peer_id import PeerId


class DivergedError(AssertionError):
    """Two committed states of one round."""


@dataclass(frozen=True)
class Commit:
    """The first that was heard of a round's commit."""

    at: float
    """Unix seconds."""
    peers: tuple[PeerId, ...]
    contributors: tuple[PeerId, ...]
    seconds: float


class Watch:
    """Event files under `folder`, one folder per peer name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read_bytes: Counter[str] = Counter()
        self._digests: dict[int, tuple[str, str]] = {}
        """By round: the state digest, and who said it first."""
        self.commits: dict[int, Commit] = {}
        self.tokens: dict[tuple[str, int], int] = {}
        """Of a peer's update, by its name and round."""
        self.ready: set[str] = set()
        """Who holds a verified state in its present life."""
        self.last: dict[str, int] = {}
        """The last round each has committed itself, in any life."""
        self.aborts: Counter[str] = Counter()
        """Failed attempts, by reason with its numbers and names left out."""
        self.refusals: Counter[str] = Counter()
        self.records: dict[str, list[tuple[float, int]]] = {}
        """By peer: when it kept how many directory records."""

    @property
    def front(self) -> int:
        return max(self.commits, default=0)

    def look(self) -> None:
        """Reads what is new. Raises DivergedError."""
        for path in sorted(self._folder.glob("*/events.jsonl")):
            name = path.parent.name
            if path.stat().st_size > self._read_bytes[name]:
                for stamped in self._new(path, name):
                    self.take(name, stamped)

    def take(self, name: str, stamped: events.Stamped) -> None:
        """One event of a peer. Raises DivergedError."""
        event = stamped.event
        match event:
            case events.NodeStarted():
                self.ready.discard(name)
            case events.StateReady():
                self.ready.add(name)
                if event.round > 0:
                    self._say(event.round, event.digest, name)
            case events.RoundCommitted():
                self._say(event.round, event.state_digest, name)
                self.last[name] = event.round
                new = Commit(stamped.at, _ids(event.peers), _ids(event.contributors), event.seconds)
                known = self.commits.setdefault(event.round, new)
                if known.contributors != new.contributors:
                    raise DivergedError(f"round {event.round}: {name} says others contributed than who said it first")
            case events.UpdateReady():
                self.tokens[name, event.round] = event.tokens
            case events.RoundAborted():
                self.aborts[_shape(event.reason)] += 1
            case events.FrameRefused():
                self.refusals[_shape(event.reason)] += 1
            case events.DirectoryKept():
                self.records.setdefault(name, []).append((stamped.at, event.records))
            case _:
                pass

    def _say(self, number: int, digest: str, name: str) -> None:
        known, who = self._digests.setdefault(number, (digest, name))
        if known != digest:
            raise DivergedError(f"round {number}: {who} has state {known[:16]}, {name} has {digest[:16]}")

    def _new(self, path: Path, name: str) -> list[events.Stamped]:
        with path.open("rb") as file:
            file.seek(self._read_bytes[name])
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read_bytes[name] += len(whole) + len(newline)
        # A peer killed while it wrote leaves half a line, and its next life goes on behind it.
        return [stamped for line in whole.split(b"\n") if (stamped := _decode(line)) is not None]


def _decode(line: bytes) -> events.Stamped | None:
    try:
        return events.decode_line(line)
    except ValueError:
        return None


def _ids(texts: tuple[str, ...]) -> tuple[PeerId, ...]:
    return tuple(PeerId(text) for text in texts)


def _shape(reason: str) -> str:
    return re.sub(r"\d+", "#", re.sub(r"12D3KooW\w+", "PEER", reason))
