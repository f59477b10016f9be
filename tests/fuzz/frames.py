"""Made-up frames: a hypothesis strategy for every type that crosses the wire, derived from its fields."""

from types import UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from swarm.net import wire
from swarm.state.records import Record, Value

PLAIN = (wire.Sealed, wire.Ballot, wire.Accepted)
REQUESTS = wire.Request.__args__
_ON_THE_WIRE = [kind for kind in vars(wire).values() if isinstance(kind, type) and issubclass(kind, wire.Frame)]
FRAMES = (*(kind for kind in _ON_THE_WIRE if kind is not wire.Frame), Value, Record)
EXPECTED = (
    *FRAMES,
    *PLAIN,
    wire.Request,
    wire.LeaderFrame,
    wire.ChunkResult | wire.Missing,
    wire.RecordIs | wire.Missing,
    wire.RecordIs | wire.Missing | wire.Refusal,
    wire.StateIs | wire.Missing | wire.Refusal,
)
"""Everything some part of the program asks `wire.decode` for."""

INTEGERS = st.integers(-(2**63), 2**64 - 1) | st.integers(0, 5)


def of(kind: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    """Any value of a frame type, numbers at their extremes included."""
    return st.builds(kind, **{name: _field(hint) for name, hint in get_type_hints(kind).items()})


def _field(hint: object) -> st.SearchStrategy:
    plain = {
        int: INTEGERS,
        str: st.text(max_size=12),
        bytes: st.binary(max_size=24),
        memoryview: st.binary(max_size=24).map(memoryview),
        bool: st.booleans(),
        float: st.floats(allow_nan=False),
        type(None): st.none(),
    }
    hint = getattr(hint, "__supertype__", hint)
    if hint in plain:
        return plain[hint]
    if get_origin(hint) in (Union, UnionType):
        return st.one_of(*(_field(part) for part in get_args(hint)))
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) is tuple:
        return st.lists(_field(get_args(hint)[0]), max_size=3).map(tuple)
    return of(hint)


any_frame = st.sampled_from(FRAMES + PLAIN).flatmap(of)
encoded_frames = any_frame.map(msgspec.msgpack.encode)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid frame with a few bytes changed, cut out, put in or taken from another frame."""
    data = bytearray(draw(encoded_frames))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        to = draw(st.integers(at, len(data)))
        match draw(st.sampled_from(("flip", "cut", "insert", "splice", "repeat"))):
            case "flip" if at < len(data):
                data[at] ^= draw(st.integers(1, 255))
            case "cut":
                del data[at:to]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=6))
            case "splice":
                data[at:to] = draw(encoded_frames)[at:to]
            case "repeat":
                data[at:at] = data[at:to]
    return bytes(data)
