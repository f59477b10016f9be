"""The ledger: one line per frame before it goes, whatever crash or full disk came before."""

import errno
import os
from pathlib import Path

import blake3
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.errors import StateError
from swarm.sovereignty.ledger import Entry, Ledger, read_totals
from swarm.sovereignty.permit import Kind

FRAMES = [("peer one", Kind.UPDATE, b"abc", "update/1"), ("directory", Kind.ANNOUNCE, b"", "protocol")]


def entries(path: Path) -> list[Entry]:
    return [msgspec.json.decode(line, type=Entry) for line in path.read_bytes().splitlines()]


class FullDisk:
    """A file that takes `room` more bytes, in short writes, then refuses; `free` makes room again."""

    def __init__(self, path: Path, room: int) -> None:
        self._file = path.open("ab", buffering=0)
        self.room = room

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = data[: self.room]
        self.room -= len(taken)
        return self._file.write(taken)

    def close(self) -> None:
        self._file.close()


def test_lines_say_what_left(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path, lambda: 17.5) as ledger:
        for frame in FRAMES:
            ledger.record(*frame)
        assert len(entries(path)) == 2, "a line is in the file before record() returns"
    for entry, (peer, kind, payload, permit) in zip(entries(path), FRAMES, strict=True):
        digest = blake3.blake3(payload).hexdigest()
        assert entry == Entry(at=17.5, peer=peer, kind=kind, bytes=len(payload), digest=digest, permit=permit)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives=st.lists(st.lists(st.tuples(st.sampled_from(Kind), st.integers(0, 300)), max_size=6), max_size=4))
def test_totals_over_restarts_are_what_was_recorded(tmp_path: Path, lives: list[list[tuple[Kind, int]]]) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b"")
    expected: dict[str, int] = {}
    for frames in lives:
        since_open: dict[Kind, int] = {}
        with Ledger(path, lambda: 0.0) as ledger:
            for kind, size in frames:
                ledger.record("peer", kind, bytes(size), "permit")
                expected[kind] = expected.get(kind, 0) + size
                since_open[kind] = since_open.get(kind, 0) + size
                assert dict(ledger.totals) == since_open
    assert read_totals(path) == expected


@pytest.mark.parametrize("torn", [b'{"at":1,"pe', b"{", b"\xff"])
def test_a_line_torn_by_a_crash_is_closed_and_never_rewritten(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path, lambda: 0.0) as ledger:
        ledger.record(*FRAMES[0])
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with Ledger(path, lambda: 0.0) as ledger:
        ledger.record(*FRAMES[0])
    assert path.read_bytes() == whole + torn + b"\n" + whole
    with pytest.raises(StateError, match="line 2"):
        read_totals(path)


def test_a_whole_file_gets_no_empty_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    for _ in range(3):
        with Ledger(path, lambda: 0.0) as ledger:
            ledger.record(*FRAMES[0])
    assert len(entries(path)) == 3 and b"\n\n" not in path.read_bytes()


@pytest.mark.parametrize("room", [0, 1, 50])
def test_on_a_full_disk_nothing_counts_as_sent_and_the_next_line_stands_alone(tmp_path: Path, room: int) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, lambda: 0.0)
    ledger.record(*FRAMES[0])
    whole = path.read_bytes()
    ledger.close()
    disk = FullDisk(path, room)
    ledger._file = disk  # type: ignore[assignment]
    for _ in range(2):
        with pytest.raises(StateError, match="No space left"):
            ledger.record(*FRAMES[0])
    assert ledger.totals == {Kind.UPDATE: 3}
    disk.room = 10_000
    ledger.record(*FRAMES[0])
    ledger.close()
    assert path.read_bytes() == whole + whole[:room] + (b"\n" if room else b"") + whole
    assert ledger.totals == {Kind.UPDATE: 6}


def test_short_writes_are_completed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(None, lambda: 0.0)

    class Drips(FullDisk):
        def write(self, data: bytes) -> int:
            return self._file.write(data[:7])

    ledger._file = Drips(path, 0)  # type: ignore[assignment]
    for frame in FRAMES:
        ledger.record(*frame)
    ledger.close()
    assert [entry.peer for entry in entries(path)] == ["peer one", "directory"]


def test_a_device_without_space_refuses_every_line() -> None:
    with Ledger(Path("/dev/full"), lambda: 0.0) as ledger, pytest.raises(StateError, match="nothing may leave"):
        ledger.record(*FRAMES[0])
    assert not ledger.totals


def test_a_ledger_that_cannot_be_opened_or_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "ledger.jsonl"):
        with pytest.raises(StateError, match="cannot write the ledger"):
            Ledger(path, lambda: 0.0)
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(StateError, match="cannot read the ledger"):
            read_totals(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=80) | st.just(b'{"x":' + b"[" * 50_000))
def test_reading_anything_is_totals_or_a_state_error(tmp_path: Path, noise: bytes) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(noise)
    try:
        read_totals(path)
    except StateError as error:
        assert "line" in str(error)


def test_without_a_file_only_totals_are_kept() -> None:
    with Ledger(None, lambda: 0.0) as ledger:
        for frame in FRAMES:
            ledger.record(*frame)
    assert ledger.totals == {Kind.UPDATE: 3, Kind.ANNOUNCE: 0}
