"""What is kept of a download: it survives the process, never hides a wrong byte, and is gone when it is done."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from swarm.identity.peer_id import PeerId
from swarm.state.partial import MOST_LIARS, Partial, Partials, Target
from swarm.state.run import Run
from swarm.vector.digest import chunk_bytes
from tests.simulation import peer_identity
from tests.unit.state.samples import make_chain, small_charter

RUN = Run(small_charter())
MADE = make_chain(RUN, 1)[0]
VECTORS = (MADE.after.base_N, *MADE.after.outer_VN)
TARGET = Target(1, MADE.after.state_digest)
OTHER = Target(2, bytes(32))


def piece(index: int) -> bytes:
    vector, chunk = divmod(index, RUN.grid.chunks)
    return bytes(chunk_bytes(VECTORS[vector][RUN.grid.bounds(chunk)]))


async def keep(partials: Partials, *indices: int) -> Partial:
    partial = await partials.open(TARGET)
    for index in indices:
        await partials.keep(partial, index, piece(index))
    return partial


def same(partial: Partial, index: int) -> bool:
    vector, chunk = divmod(index, RUN.grid.chunks)
    return chunk_bytes(partial.vectors[vector][RUN.grid.bounds(chunk)]) == piece(index)


def test_the_same_download_goes_on_in_memory_and_another_begins_anew() -> None:
    async def main() -> None:
        partials = Partials(RUN, None, print)
        assert partials.target() is None
        partial = await keep(partials, 0, 4)
        assert partials.target() == TARGET
        assert await partials.open(TARGET) is partial and partial.held == {0, 4}
        assert (await partials.open(OTHER)).held == set()
        await partials.clear()
        assert partials.target() is None

    asyncio.run(main())


def test_pieces_are_there_after_the_process_and_gone_when_it_is_done(tmp_path: Path) -> None:
    async def main() -> None:
        await keep(Partials(RUN, tmp_path / "download", print), 1, 5)
        later = Partials(RUN, tmp_path / "download", print)
        assert later.target() == TARGET
        partial = await later.open(TARGET)
        assert partial.is_from_disk and partial.held == set()  # the caller compares them with their leaves
        assert same(partial, 1) and same(partial, 5) and not same(partial, 0)
        await later.clear()
        assert os.listdir(tmp_path / "download") == []

    asyncio.run(main())


_WRITER = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.unit.state.test_partial import RUN, keep
from swarm.state.partial import Partials

async def main():
    await keep(Partials(RUN, Path(sys.argv[1]), print), 0, 3)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_sigkill_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _WRITER, str(tmp_path)], check=False, cwd=Path.cwd())
    assert done.returncode == -9
    partial = asyncio.run(Partials(RUN, tmp_path, print).open(TARGET))
    assert same(partial, 0) and same(partial, 3)


@pytest.mark.parametrize("size", [0, 7, 1001, 10**5])
def test_a_torn_or_overlong_file_is_read_as_far_as_it_goes(tmp_path: Path, size: int) -> None:
    async def main() -> None:
        await keep(Partials(RUN, tmp_path, print), 0)
        (name,) = os.listdir(tmp_path)
        os.truncate(tmp_path / name, size)
        partial = await Partials(RUN, tmp_path, print).open(TARGET)
        assert [vector_N.shape for vector_N in partial.vectors] == [(RUN.grid.elements,)] * len(VECTORS)
        assert all(vector_N.dtype == np.float32 for vector_N in partial.vectors)

    asyncio.run(main())


def test_another_download_makes_way_and_foreign_files_stay(tmp_path: Path) -> None:
    async def main() -> None:
        await keep(Partials(RUN, tmp_path, print), 0)
        for name in ("notes.txt", "7-zz", "7"):
            (tmp_path / name).write_text("mine")
        later = Partials(RUN, tmp_path, print)
        assert (await later.open(OTHER)).held == set()
        assert sorted(os.listdir(tmp_path)) == ["7", "7-zz", "notes.txt"]

    asyncio.run(main())


def test_a_disk_that_cannot_be_used_costs_the_resuming_only(tmp_path: Path) -> None:
    async def main() -> None:
        said: list[str] = []
        (tmp_path / "download").write_text("a file where a folder should be")
        partials = Partials(RUN, tmp_path / "download", said.append)
        partial = await keep(partials, 0, 1)
        assert partial.held == {0, 1} and same(partial, 0)
        assert len(said) == 1 and "a restart begins it anew" in said[0]

    asyncio.run(main())


def test_a_disk_that_fills_up_in_the_middle_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        said: list[str] = []
        partials = Partials(RUN, tmp_path, said.append)
        await keep(partials, 0)

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("swarm.state.partial.os.pwrite", full)
        partial = await keep(partials, 1, 2)
        assert partial.held == {0, 1, 2} and same(partial, 2)
        assert [text for text in said if "No space left" in text] == said and len(said) == 1

    asyncio.run(main())


def test_only_so_many_liars_are_remembered_and_the_newest_stay() -> None:
    partials = Partials(RUN, None, print)
    peers = [peer_identity(number).peer_id for number in range(2)]
    partials.distrust(peers[0])
    for number in range(MOST_LIARS - 1):
        partials.distrust(PeerId(f"peer {number}"))
    assert peers[0] in partials.liars and len(partials.liars) == MOST_LIARS
    partials.distrust(peers[1])
    assert peers[1] in partials.liars and peers[0] not in partials.liars and len(partials.liars) == MOST_LIARS
