"""Whatever bytes a stranger sends, decoding gives a frame of an expected type or raises ProtocolError."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from tests.fuzz.frames import EXPECTED, FRAMES, PLAIN, REQUESTS, any_frame, damaged, encoded_frames, of

DEPTH = 100_000
MISTYPED = (None, True, -1, 2**64 - 1, 1.5, float("nan"), "text", b"bytes", [], {}, [[]], {"a": 1})
thorough = settings(max_examples=300, deadline=None)


def required(frame: msgspec.Struct) -> list[str]:
    """Fields without a default; requests that say nothing but what they are have none."""
    return [field.encode_name for field in msgspec.structs.fields(type(frame)) if field.required]


def take(data: bytes, expected: type) -> None:
    try:
        frame = wire.decode(data, expected)
    except ProtocolError:
        return
    assert isinstance(frame, expected)


@pytest.mark.parametrize("kind", FRAMES + PLAIN, ids=lambda kind: kind.__name__)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_type_round_trips(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    frame = data.draw(of(kind))
    encoded = msgspec.msgpack.encode(frame)
    assert wire.decode(encoded, kind) == frame
    if kind in REQUESTS:
        assert wire.decode(encoded, wire.Request) == frame


@thorough
@given(data=st.binary(max_size=200), expected=st.sampled_from(EXPECTED))
def test_random_bytes(data: bytes, expected: type) -> None:
    take(data, expected)


@thorough
@given(data=damaged(), expected=st.sampled_from(EXPECTED))
def test_damaged_frames(data: bytes, expected: type) -> None:
    take(data, expected)


@thorough
@given(data=damaged())
def test_damaged_frames_where_any_request_may_come(data: bytes) -> None:
    take(data, wire.Request)


@settings(max_examples=60, deadline=None)
@given(frame=any_frame)
def test_truncated_frames_are_refused_at_every_length(frame: msgspec.Struct) -> None:
    encoded = msgspec.msgpack.encode(frame)
    for length in range(len(encoded)):
        with pytest.raises(ProtocolError):
            wire.decode(encoded[:length], type(frame))


@settings(max_examples=100, deadline=None)
@given(frame=any_frame, tail=st.binary(min_size=1, max_size=3))
def test_a_frame_with_something_after_it_is_refused(frame: msgspec.Struct, tail: bytes) -> None:
    with pytest.raises(ProtocolError):
        wire.decode(msgspec.msgpack.encode(frame) + tail, type(frame))


@settings(max_examples=100, deadline=None)
@given(frame=any_frame, name=st.text(max_size=5).map(lambda text: f"{text}?"))
def test_a_frame_with_a_field_too_many_is_refused(frame: msgspec.Struct, name: str) -> None:
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(frame))
    with pytest.raises(ProtocolError):
        wire.decode(msgspec.msgpack.encode(fields | {name: 1}), type(frame))


@settings(max_examples=100, deadline=None)
@given(frame=any_frame.filter(lambda frame: bool(required(frame))), data=st.data())
def test_a_frame_with_a_field_too_few_is_refused(frame: msgspec.Struct, data: st.DataObject) -> None:
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(frame))
    del fields[data.draw(st.sampled_from(required(frame)))]
    with pytest.raises(ProtocolError):
        wire.decode(msgspec.msgpack.encode(fields), type(frame))


@settings(max_examples=200, deadline=None)
@given(frame=any_frame, data=st.data())
def test_a_field_of_another_type_is_refused_or_means_the_same(frame: msgspec.Struct, data: st.DataObject) -> None:
    """msgspec reads a whole number where a real one is due; nothing else passes for another type."""
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(frame))
    name = data.draw(st.sampled_from(sorted(fields)))
    fields[name] = data.draw(st.sampled_from(MISTYPED))
    try:
        read = wire.decode(msgspec.msgpack.encode(fields), type(frame))
    except ProtocolError:
        return
    meant = msgspec.msgpack.decode(msgspec.msgpack.encode(read))[name]
    is_whole_number = isinstance(meant, float) and type(fields[name]) is int and meant == float(fields[name])
    assert repr(meant) == repr(fields[name]) or is_whole_number


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\xa1x" + b"\x91" * DEPTH + b"\xc0\xa1t\xa7Missing",
        b"\x82\xa1x" + b"\x81\xa1a" * DEPTH + b"\xc0\xa1t\xa7Missing",
        b"\x91" * DEPTH,
        b"\x81\xa1t" + b"\x91" * DEPTH,
    ],
    ids=["before the tag", "maps before the tag", "alone", "as the tag"],
)
@pytest.mark.parametrize("expected", [wire.Request, wire.LeaderFrame, wire.Missing])
def test_deep_nesting_is_refused(data: bytes, expected: type) -> None:
    with pytest.raises(ProtocolError):
        wire.decode(data, expected)


@pytest.mark.parametrize(
    "data",
    [b"\x82\xa1t\xa7Refusal\xa4code\xa1\xff", b"\x81\xa1\xff\x01", b"\x81\xa1t\xa3\xff\xff\xff"],
    ids=["value", "key", "tag"],
)
@pytest.mark.parametrize("expected", [wire.Refusal, wire.LeaderFrame])
def test_text_that_is_not_utf_8_is_refused(data: bytes, expected: type) -> None:
    with pytest.raises(ProtocolError):
        wire.decode(data, expected)


@pytest.mark.parametrize("head", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"])
def test_a_length_that_the_bytes_do_not_bear_out_is_refused(head: bytes) -> None:
    """An array, a map and a byte string that say they hold four thousand million."""
    request = b"\x83\xa1t\xa8GetState\xa5round\x01\xa6wanted" + head
    for data in (head, request):
        with pytest.raises(ProtocolError):
            wire.decode(data, wire.Request)


@settings(max_examples=100, deadline=None)
@given(inner=encoded_frames, signature=st.binary(max_size=70), author=st.text(max_size=60))
def test_a_seal_that_does_not_hold_is_refused(inner: bytes, signature: bytes, author: str) -> None:
    with pytest.raises(ProtocolError):
        wire.unseal(wire.Sealed(PeerId(author), inner, signature), wire.Join)
