"""What many machines compute from the same bytes, computed once for all that one process plays.

Each of these is a pure function of what it is given, so no machine sees anything else than it would have computed: the
signatures in a roster or a record, the reading of a long frame, the plan of a reduction. Real peers do all of it
themselves, so the processor time of a simulation says nothing about theirs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any
from unittest.mock import patch

from swarm.net import wire
from swarm.round.plan import Plan
from swarm.state import records, roster
from swarm.state.electorate import Electorate
from swarm.state.records import Record, Value
from swarm.state.run import Run

_LONG_BYTES = 16 * 1024
_LONG_FRAMES = (wire.RosterClosed, wire.Propose, wire.Committed, wire.PushRecord, wire.RecordIs)


@contextmanager
def shared_work(run: Run) -> Iterator[None]:
    """While this lasts, machines share the results of pure functions."""
    plain_plan = lru_cache(8)(Plan)
    with (
        patch("swarm.net.wire.encode", _shared_encode(wire.encode)),
        patch("swarm.net.wire.decode", _shared_decode(wire.decode)),
        patch("swarm.round.member.Plan", plain_plan),
        patch("swarm.state.roster._remembered_roster", lru_cache(256)(roster._read_roster)),
        patch("swarm.state.records._remembered", lru_cache(256)(records._verify)),
        patch("swarm.state.records._remembered_value", lru_cache(256)(records._read_value)),
        patch("swarm.state.electorate.Electorate.after", lru_cache(256)(Electorate.after)),
        patch("swarm.charter.passport.run_id", lambda charter: run.id),
    ):
        yield


def _shared_encode(encode: Callable[[wire.Frame], bytes]) -> Callable[[wire.Frame], bytes]:
    """A leader tells every guest the same frame."""
    kept: dict[int, tuple[wire.Frame, bytes]] = {}

    encode_value = lru_cache(8)(encode)

    def shared(frame: wire.Frame) -> bytes:
        if type(frame) is Value or type(frame) is Record:
            return encode_value(frame)
        if not isinstance(frame, _LONG_FRAMES):
            return encode(frame)
        known = kept.get(id(frame))
        if known is None:
            if len(kept) >= 32:
                del kept[next(iter(kept))]
            known = kept[id(frame)] = frame, encode(frame)
        return known[1]

    return shared


def _shared_decode(decode: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Frozen frames from one and the same bytes are one and the same."""
    shared = lru_cache(64)(decode)

    def read(data: Any, expected: Any) -> Any:
        return shared(data, expected) if type(data) is bytes and len(data) >= _LONG_BYTES else decode(data, expected)

    return read
