"""The terminal view: its tables, in textual's own harness and through a terminal emulator, and the sources it reads."""

import asyncio
from pathlib import Path

import pytest
from textual.widgets import DataTable, Static

from peers.watch.app import WatchApp
from peers.watch.logs import LOG, Logs
from peers.watch.source import Source
from peers.watch.words import ago, bytes_of
from swarm import events
from swarm.errors import UsageError
from swarm.telemetry.seen import Decided, Remark, Seen
from tests.lineage.folders import make_state
from tests.unit.telemetry.story import BEGAN_AT, PEERS, ROUNDS, spent, story, write_logs

COLUMNS, LINES = 150, 45
LISTED = sorted(PEERS, key=lambda peer: PEERS[peer])
"""Peers by region and member, as all tables have them."""
LIMIT_S = 60


def _source(path: Path) -> Source:
    return Source(None, path, run_id=None, passport=None, identity=None)


def test_every_peer_region_and_round_has_a_line(tmp_path: Path) -> None:
    async def main() -> None:
        app = WatchApp(_source(write_logs(tmp_path, [*story(), spent()])))
        async with app.run_test(size=(COLUMNS, LINES)) as pilot:
            async with asyncio.timeout(LIMIT_S):
                while app.query_one("#rounds", DataTable).row_count < ROUNDS:
                    await pilot.pause(0.05)
            counts = {name: app.query_one(f"#{name}", DataTable).row_count for name in ("peers", "regions", "rounds")}
            assert counts == {"peers": len(PEERS), "regions": 2, "rounds": ROUNDS}
            peers = app.query_one("#peers", DataTable)
            names = [str(each.label) for each in peers.columns.values()]
            lines = [dict(zip(names, map(str, peers.get_row_at(number)), strict=True)) for number in range(len(PEERS))]
            told = [tuple(line[name] for name in ("member", "region", "isolation", "refused", "ε")) for line in lines]
            assert told == [
                ("cy", "asia", "confined", "1", "-"),
                ("ada", "eu", "confined", "0", "0.50"),
                ("bo", "eu", "confined", "0", "-"),
            ]
            head = str(app.query_one("#head", Static).render())
            assert "1 frames refused" in head and "ε 0.50 spent at most" in head
            links = app.query_one("#links", DataTable)
            assert [str(each.label) for each in links.columns.values()][1:] == [peer[-6:] for peer in LISTED]
            rows = [[str(cell) for cell in links.get_row_at(number)][1:] for number in range(3)]
            sent = bytes_of(1000 * ROUNDS)
            assert rows == [["", sent, sent], [sent, "", sent], [sent, sent, ""]]
            coloured = [[cell.style for cell in links.get_row_at(number)][1:] for number in range(3)]
            assert coloured == [["", "yellow", "yellow"], ["yellow", "", ""], ["yellow", "", ""]]
            await pilot.press("q")
        app.raise_failure()

    asyncio.run(main())


def test_a_swarm_that_cannot_be_reached_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="MULTIADDR"):
        Source(None, None, run_id=None, passport=None, identity=None)
    with pytest.raises(UsageError, match="MULTIADDR"):
        Source("/ip4/127.0.0.1/tcp/1/p2p/x", tmp_path, run_id=None, passport=None, identity=None)
    with pytest.raises(UsageError, match="are for a swarm"):
        Source(None, tmp_path, run_id="ab", passport=None, identity=None)
    with pytest.raises(UsageError, match="does not exist"):
        _source(tmp_path / "nothing")


def test_logs_are_read_as_they_grow_and_torn_lines_wait(tmp_path: Path) -> None:
    told = story()
    seen: list[Seen] = []
    logs = Logs(tmp_path, seen.append)
    logs.read()
    assert [each.text for each in seen if isinstance(each, Remark)] == [f"no {LOG} lies in {tmp_path} yet"]
    seen.clear()
    write_logs(tmp_path, told[:40])
    logs.read()
    torn = events.encode_line(BEGAN_AT, events.Note(text="torn"))
    path = tmp_path / told[0].peer / LOG
    before = len(seen)
    with path.open("ab") as file:
        file.write(torn[:-5])
    logs.read()
    assert len(seen) == before
    with path.open("ab") as file:
        file.write(torn[-5:] + b"nonsense\n" + torn)
    logs.read()
    assert sum(not isinstance(each, Remark) for each in seen) == 40 + 2
    assert "1 lines are no events" in [each for each in seen if isinstance(each, Remark)][-1].text


def test_what_happened_before_a_log_named_its_peer_is_that_peers(tmp_path: Path) -> None:
    told = [each for each in story() if each.peer == story()[0].peer]
    first = told[0]
    path = tmp_path / LOG
    path.write_bytes(events.encode_line(1.0, events.Note(text="coming up")) + events.encode_line(first.at, first.event))
    seen: list[Seen] = []
    Logs(path, seen.append).read()
    assert [getattr(each, "peer", None) for each in seen] == [first.peer, first.peer]


def test_records_beside_a_log_are_verified_from_the_charter(tmp_path: Path) -> None:
    state = tmp_path / "run" / "peer"
    make_state(state, rounds=3, elements=600)
    seen: list[Seen] = []
    logs = Logs(tmp_path / "run", seen.append)
    last = (state / "records" / "000000003").read_bytes()
    (state / "records" / "000000003").unlink()
    logs.read()
    assert [each.round for each in seen if isinstance(each, Decided)] == [1, 2]
    (state / "records" / "000000003").write_bytes(last)
    logs.read()
    assert [each.round for each in seen if isinstance(each, Decided)] == [1, 2, 3]
    assert not any(isinstance(each, Remark) and "do not hold" in each.text for each in seen)


def test_records_that_do_not_hold_are_said_and_not_shown(tmp_path: Path) -> None:
    state = tmp_path / "peer"
    make_state(state, rounds=3, elements=600)
    data = bytearray((state / "records" / "000000001").read_bytes())
    data[-8] ^= 1
    (state / "records" / "000000001").write_bytes(data)
    seen: list[Seen] = []
    Logs(state, seen.append).read()
    assert not any(isinstance(each, Decided) for each in seen)
    assert any(isinstance(each, Remark) and "do not hold" in each.text for each in seen)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.50 kB"), (26_200_000, "26.2 MB"), (None, "-")]
)
def test_bytes_in_words(count: int | None, text: str) -> None:
    assert bytes_of(count) == text


def test_ages_in_words() -> None:
    assert [ago(value) for value in (1, 60, 600, 7200)] == ["now", "60 s", "10 min", "2 h"]
