"""Which donor is asked for which piece of a state: pure bookkeeping, time is an argument.

Every donor has a window of pieces asked for and not yet here, about a second's worth at the rate it has shown, so that
its link never waits for the next request. Once every piece has been asked for, a donor with room takes over the piece
that would come last from somebody slower; the first copy to arrive counts. So a slow or silent donor delays nothing
but itself, and costs at most one piece twice for each that it holds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from swarm.identity.peer_id import PeerId

WINDOW_S = 1.0
MIN_WINDOW, MAX_WINDOW = 2, 32
_MOST_ASKED = 2
"""Donors that one piece is asked from at a time."""
_NEWEST_SHARE = 0.3
"""Weight of the newest piece in a donor's smoothed time per piece."""
_UNPROVEN_S = 1.0
"""What a donor that has given nothing yet is taken to need for a piece, when it asks for somebody else's."""


@dataclass
class _Line:
    """One donor's pieces, in the order they were asked for."""

    asked: list[int] = field(default_factory=list[int])
    piece_s: float | None = None
    """Smoothed time per piece; None before the first."""
    since_s: float = 0.0
    """When its last piece came, or it was asked for its first."""


class Pieces:
    """The pieces of one download that are not here yet, and who was asked for them."""

    def __init__(self, missing: Iterable[int]) -> None:
        self._missing = dict.fromkeys(missing)
        self._unasked = list(reversed(list(self._missing)))
        self._lines: dict[PeerId, _Line] = {}

    @property
    def left(self) -> int:
        """Pieces that are not here yet."""
        return len(self._missing)

    def asked_of(self, donor: PeerId) -> tuple[int, ...]:
        """What a donor owes, in order."""
        line = self._lines.get(donor)
        return () if line is None else tuple(line.asked)

    def ask(self, donor: PeerId, now_s: float) -> tuple[int, ...]:
        """What to ask a donor for now; it counts as asked from here on."""
        line = self._lines.setdefault(donor, _Line(since_s=now_s))
        if not line.asked:
            line.since_s = now_s
        room = _window(line.piece_s) - len(line.asked)
        fresh = [self._unasked.pop() for _ in range(min(room, len(self._unasked)))]
        if not fresh and room > 0:
            fresh = self._take_over(donor, line, now_s)
        line.asked += fresh
        return tuple(fresh)

    def arrived(self, donor: PeerId, index: int, now_s: float) -> bool:
        """A piece came from a donor that owed it; whether it is the first copy. The caller has verified it."""
        line = self._lines[donor]
        line.asked.remove(index)
        took_s = now_s - line.since_s
        line.piece_s = took_s if line.piece_s is None else line.piece_s + _NEWEST_SHARE * (took_s - line.piece_s)
        line.since_s = now_s
        if index not in self._missing:
            return False
        del self._missing[index]
        return True

    def leave(self, donor: PeerId) -> None:
        """A donor is gone: what only it was asked for is to be asked for again."""
        line = self._lines.pop(donor, None)
        for index in reversed(line.asked if line is not None else ()):
            if index in self._missing and not any(index in other.asked for other in self._lines.values()):
                self._unasked.append(index)

    def _take_over(self, donor: PeerId, line: _Line, now_s: float) -> list[int]:
        """The piece that would come last from others, if it comes sooner from here."""
        mine_s = (len(line.asked) + 1) * (line.piece_s or _UNPROVEN_S)
        awaited = [(due_s, index) for due_s, index in self._awaited(donor, now_s) if due_s > mine_s]
        return [max(awaited)[1]] if awaited else []

    def _awaited(self, donor: PeerId, now_s: float) -> Iterator[tuple[float, int]]:
        """Pieces that others owe and `donor` does not, with the seconds until each is to be expected."""
        for other, line in self._lines.items():
            if other == donor:
                continue
            # Who has been silent for longer than its pieces usually take is as slow as its silence.
            silent_s = now_s - line.since_s
            piece_s = float("inf") if line.piece_s is None else max(line.piece_s, silent_s)
            for place, index in enumerate(line.asked):
                askers = sum(index in one.asked for one in self._lines.values())
                if index in self._missing and askers < _MOST_ASKED and index not in self._lines[donor].asked:
                    yield (place + 1) * piece_s, index


def _window(piece_s: float | None) -> int:
    if piece_s is None:
        return MIN_WINDOW
    return MAX_WINDOW if piece_s * MAX_WINDOW <= WINDOW_S else max(MIN_WINDOW, 1 + int(WINDOW_S / piece_s))
