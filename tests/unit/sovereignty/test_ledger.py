"""The ledger: one line per frame before it goes, whatever crash or full disk came before, and a Merkle log over all."""

import asyncio
import errno
import io
import os
from pathlib import Path

import blake3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.errors import StateError
from swarm.sovereignty.entry import Entry, decode_line, event_of
from swarm.sovereignty.ledger import Ledger, read_totals
from swarm.sovereignty.merkle import Levels, is_extension, roots_at
from swarm.sovereignty.permit import Kind

FRAMES = [("peer one", Kind.UPDATE, b"abc", "update/1"), ("directory", Kind.ANNOUNCE, b"", "protocol")]


def entries(path: Path) -> list[Entry]:
    return [decode_line(line) for line in path.read_bytes().splitlines()]


def leaves(path: Path) -> list[bytes]:
    return [event_of(entry).leaf() for entry in entries(path)]


def _try(line: bytes) -> Entry | None:
    try:
        return decode_line(line)
    except ValueError:
        return None


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


class FullBeforeTheNewline(FullDisk):
    """One that has room for a line of any length, but for its newline."""

    def write(self, data: bytes) -> int:
        self.room = len(data) - 1
        return super().write(data)


def test_lines_say_what_left(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path, lambda: 17.5) as ledger:
        for frame in FRAMES:
            ledger.record(*frame)
        assert len(entries(path)) == 2, "a line is in the file before record() returns"
    for number, (entry, (peer, kind, payload, permit)) in enumerate(zip(entries(path), FRAMES, strict=True)):
        digest = blake3.blake3(payload).hexdigest()
        said = (entry.n, entry.at, entry.peer, entry.kind, entry.bytes, entry.digest, entry.permit)
        assert said == (number, 17.5, peer, kind, len(payload), digest, permit)
    assert len({entry.salts[half : half + 32] for entry in entries(path) for half in (0, 32)}) == 4
    assert all(len(entry.salts) == 64 for entry in entries(path))


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
        assert ledger.size == 2
    assert path.read_bytes().startswith(whole + torn + b"\n")
    assert decode_line(path.read_bytes().splitlines()[-1]).n == 1
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
    after = path.read_bytes()
    assert after.startswith(whole) and after[len(whole) :][:room].startswith(b'{"n":1,'[:room])
    assert after[len(whole) + room :].startswith(b'\n{"n":1' if room else b'{"n":1')
    assert [entry.n for line in after.splitlines() for entry in [_try(line)] if entry] == [0, 1]
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


def test_a_device_without_space_refuses_every_line(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl", lambda: 0.0) as ledger:
        assert ledger._file is not None
        ledger._file.close()
        ledger._file = io.FileIO("/dev/full", "w")  # type: ignore[assignment]
        with pytest.raises(StateError, match="nothing may leave"):
            ledger.record(*FRAMES[0])
        assert not ledger.totals and not ledger.size


def test_a_ledger_that_cannot_be_opened_or_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none" / "ledger.jsonl", Path("/dev/full")):
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


# --- the Merkle log ---------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lives=st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.integers(0, 40)), min_size=1, max_size=5),
)
def test_the_log_survives_restarts_crashes_and_the_loss_of_its_tree(
    tmp_path: Path, lives: list[tuple[int, bool, int]]
) -> None:
    """Each life records frames, grows the log or dies before it does, and loses some of the tree's file."""
    path, tree = tmp_path / "ledger.jsonl", tmp_path / "ledger.tree"
    path.write_bytes(b"")
    tree.unlink(missing_ok=True)
    heads: list[tuple[int, bytes]] = []
    for frames, grows, lost_bytes in lives:
        with Ledger(path, lambda: 3.25) as ledger:
            for number in range(frames):
                ledger.record("peer", Kind.RESULT, bytes(number), "permit")
            size = asyncio.run(ledger.grow()) if grows else len(heads) and heads[-1][0]
            if grows:
                assert size == len(entries(path)) == ledger.size
            root = ledger.root(size)
            assert root is not None and root == roots_at(leaves(path), [size])[size]
            for old_size, old_root in heads:
                assert ledger.root(old_size) == old_root
                assert is_extension(old_size, old_root, size, root, ledger.proof(old_size, size))
            heads.append((size, root))
        data = tree.read_bytes()
        tree.write_bytes(data[: max(0, len(data) - lost_bytes)])


def test_a_tree_of_another_ledger_is_made_anew(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with Ledger(tmp_path / f"{name}.jsonl", lambda: 0.0) as ledger:
            for _ in range(5):
                ledger.record(*FRAMES[0])
            asyncio.run(ledger.grow())
    (tmp_path / "b.tree").replace(tmp_path / "a.tree")
    with Ledger(tmp_path / "a.jsonl", lambda: 0.0) as ledger:
        assert ledger.root(5) == roots_at(leaves(tmp_path / "a.jsonl"), [5])[5]


def test_a_ledger_with_a_line_missing_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path, lambda: 0.0) as ledger:
        for _ in range(3):
            ledger.record(*FRAMES[0])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    (tmp_path / "ledger.tree").unlink()
    with pytest.raises(StateError, match="was edited or is damaged"):
        Ledger(path, lambda: 0.0)


def test_an_entry_that_lacks_its_newline_only_keeps_its_number(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path, lambda: 0.0)
    ledger.record(*FRAMES[0])
    real, ledger._file = ledger._file, FullBeforeTheNewline(path, 0)  # type: ignore[assignment]
    with pytest.raises(StateError, match="No space left"):
        ledger.record(*FRAMES[0])
    ledger._file.close()
    ledger._file = real
    ledger.record(*FRAMES[0])
    assert asyncio.run(ledger.grow()) == 3
    ledger.close()
    assert [entry.n for entry in entries(path)] == [0, 1, 2]


def test_growing_costs_few_hashes_and_leaves_the_loop_its_turns(tmp_path: Path) -> None:
    async def play() -> int:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        with Ledger(tmp_path / "ledger.jsonl", lambda: 0.0) as ledger:
            for _ in range(1000):
                ledger.record(*FRAMES[1])
            counting = asyncio.create_task(count())
            await ledger.grow()
            counting.cancel()
        return turns

    assert asyncio.run(play()) >= 1000 // 64
    assert (tmp_path / "ledger.tree").stat().st_size == 32 * (2 * 1000 - (1000).bit_count())


def test_the_tree_on_disk_is_the_one_in_memory(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl", lambda: 0.0) as ledger:
        for _ in range(21):
            ledger.record(*FRAMES[1])
        asyncio.run(ledger.grow())
        levels = Levels(leaves(tmp_path / "ledger.jsonl"))
        tree = ledger._log._tree  # type: ignore[union-attr]
        for level in range(5):
            for index in range(21 >> level):
                assert tree.node(level, index) == levels.node(level, index)
