"""`tapestry peer --archive`: what a replay from the beginning needs stays on disk, and only there."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from peers.cli.app import app
from swarm.node.config import NodeConfig
from swarm.node.session import open_store
from swarm.state.store import KEPT_ROUNDS, DiskStore, result_rounds
from tests.acceptance.papers import table, write_data

NOBODY = "/ip4/127.0.0.1/tcp/9/p2p/12D3KooWQ45M7d5X8ykr7wXdnTh1cnKZt9fQPA6kw3dknnoD2Rep"

ROUNDS = KEPT_ROUNDS + 4


def configured(monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str) -> NodeConfig:
    """What `tapestry peer` hands to its node."""
    given: list[NodeConfig] = []

    class Peer:
        exported = None

        def __init__(self, settings: NodeConfig, training: object, take: object) -> None:
            given.append(settings)

        def run(self) -> None:
            """Nothing is started."""

    monkeypatch.setattr("peers.supervisor.Peer", Peer)
    monkeypatch.setattr("peers.cli.peer.signal.signal", lambda number, handler: None)
    data = write_data(folder / "data", table())
    result = CliRunner().invoke(
        app, ["peer", "--join", NOBODY, "--data", str(data), "--state", str(folder / "state"), *words]
    )
    assert result.exit_code == 0, result.output
    return given[0]


@pytest.mark.parametrize("archive", [False, True])
def test_an_archive_keeps_all_means_and_state_zero(
    archive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the command line to the disk."""
    state = tmp_path / "state"
    config = configured(monkeypatch, tmp_path, *(["--archive"] if archive else []))

    async def live() -> None:
        store = open_store(config)
        for number in range(ROUNDS + 1):
            await store.save_snapshot(number, (np.zeros(3, np.float32),))
            if number:
                await store.save_results(number, bytes(32), [b"mean"])

    asyncio.run(live())
    store = DiskStore(state, read_only=True)
    if archive:
        assert list(result_rounds(state)) == list(range(ROUNDS, 0, -1))
        assert list(store.snapshots()) == [ROUNDS, ROUNDS - 1, 0]
    else:
        assert len(result_rounds(state)) == KEPT_ROUNDS + 1 and list(store.snapshots()) == [ROUNDS, ROUNDS - 1]


def test_reading_a_folder_changes_nothing_in_it(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    half = tmp_path / "records" / "000000001.3.new"
    half.write_bytes(b"its peer is writing this")
    store = DiskStore(tmp_path, read_only=True)
    assert store.load_snapshot(1) is None and half.exists() and not (tmp_path / "results").exists()
