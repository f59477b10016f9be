"""The sixth case: a data set is withdrawn, the report names the last clean base, and the run restarts from it."""

import asyncio
import json
import shlex
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from peers.cli.app import app
from swarm import events
from swarm.charter import files
from swarm.charter.manifest import Founders
from swarm.charter.signing import SignedCharter, sign_charter
from swarm.identity.peer_id import PeerId
from swarm.net.memory import run_virtual
from swarm.sovereignty import trained
from swarm.sovereignty.artefacts import DataUsed
from swarm.sovereignty.gate import InForce
from swarm.sovereignty.labels import Label
from swarm.sovereignty.lattice import Restrictions
from swarm.sovereignty.ledger import LEDGER_NAME, Ledger
from swarm.sovereignty.trained import TRAINED_NAME
from swarm.sovereignty.uses import Privacy, Use
from swarm.state.disk import replace_file
from swarm.state.tensors import safetensors_parts
from tests.simulation import MEMBER_KEYS, Simulation, make_charter, peer_identity

POLICY = "ab" * 32
ME = peer_identity(0).peer_id
"""State folders are called by their peer, which has signed no head here."""
CLEAN, LETTERS = "manuals", "letters"


def tapestry(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.stderr if code else result.stdout


def dataset(name: str) -> DataUsed:
    return DataUsed(
        name=name,
        label=Label.OPEN,
        residency="DE",
        licence="CC0-1.0",
        uses=(Use.SHARED_BASE,),
        privacy=Privacy.LICENCE,
        digest=f"digest of {name}",
    )


class Member:
    """Peer 0 of a simulated swarm, with a state folder: it starts anew whenever the data it trains on changes."""

    def __init__(self, sim: Simulation, state: Path) -> None:
        self._sim = sim
        self.state = state
        state.mkdir()
        files.write(state / "charter.toml", sign_charter(SignedCharter(charter=sim.charter), MEMBER_KEYS[0]))
        self._ledger: Ledger | None = None

    async def start(self, *names: str) -> trained.Begun:
        """Starts it, or stops it and starts it again, on these data sets."""
        if self._ledger is not None:
            self._sim.kill(0)
            self._ledger.close()
        self._ledger = Ledger(self.state / LEDGER_NAME, lambda: 0.0)
        begun = trained.begin(
            self.state,
            self._ledger,
            policy=POLICY,
            data=[dataset(name) for name in names],
            isolation="none",
            owner="m0",
            at=0.0,
        )
        await self._sim.start(0, policy=InForce(POLICY, Restrictions()), ledger=self._ledger)
        return begun

    def save(self, folder: Path) -> None:
        """Its simulated disk, as the folder of a real peer has it. No threads: time is virtual."""
        store = self._sim.peers[0].store
        for name in ("records", "snapshots", "results"):
            (folder / name).mkdir(parents=True)
        for number in range(1, self._sim.committed(0) + 1):
            record = store.load_record(number)
            assert record is not None
            replace_file(folder / "records" / f"{number:09d}", [record])
        for number in store.snapshots():
            vectors = store.load_snapshot(number)
            assert vectors is not None
            named = {"base" if place == 0 else f"outer.{place - 1}": vector for place, vector in enumerate(vectors)}
            replace_file(folder / "snapshots" / f"{number:09d}", safetensors_parts(named))

    def close(self) -> None:
        assert self._ledger is not None
        self._ledger.close()


def report(state: Path, name: str = LETTERS) -> dict:
    return json.loads(tapestry("audit", "withdraw", name, "--state", state, "--json"))


def restart_file(found: dict, folder: Path, key: Path) -> bytes:
    """Runs the command the report gives, and has the founder sign what it writes."""
    words = shlex.split(found["restart"]["command"])
    out = folder / "restart.json"
    assert words[:5] == ["tapestry", "charter", "restart", "new", "restart.json"]
    tapestry("charter", "restart", "new", out, *words[5:])
    tapestry("charter", "restart", "sign", out, "--charter", Path(found["restart"]["state"]) / "charter.toml",
             "--identity", key)  # fmt: skip
    return out.read_bytes()


def test_withdrawal_impact_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.state.store.KEPT_SNAPSHOTS", 99)  # what `tapestry peer --checkpoints 99` does
    key = tmp_path / "founder.key"
    MEMBER_KEYS[0].save(key)
    rules = make_charter(3)
    rules = msgspec.structs.replace(rules, founders=Founders(keys=(MEMBER_KEYS[0].peer_id,), threshold=1))
    stood: list[int] = []

    async def first_life(sim: Simulation, member: Member) -> None:
        assert not (await member.start(CLEAN)).withdrawn
        for number in (1, 2):
            await sim.start(number)
        await sim.until_round(2)
        stood.append(sim.committed(0))
        assert not (await member.start(CLEAN, LETTERS)).withdrawn
        await sim.until_round(stood[0] + 4)
        stood.append(sim.committed(0))
        assert (await member.start(CLEAN)).withdrawn == (LETTERS,)
        await sim.until_round(stood[1] + 3)
        member.save(member.state)

    async def second_life(sim: Simulation, document: bytes, found: dict) -> None:
        clean = found["last_clean"]
        engine = sim.peers[1].engine
        assert engine is not None
        engine.restart((document,))
        async with asyncio.timeout(600):
            while not all(sim.peers[number].of(events.Restarted) for number in range(3)):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        await sim.until_round(clean["round"] + 4)
        first = {sim.decided(number, clean["round"] + 1).value.base_digest.hex() for number in range(3)}
        assert first == {clean["state"]}, "the run goes on from the last clean base, on every peer"
        gone = {each["record"] for each in found["affected"]}
        for number in range(3):
            for round_number in range(clean["round"] + 1, sim.committed(number) + 1):
                assert sim.decided(number, round_number).digest.hex() not in gone

    async def main() -> None:
        sim = Simulation(rules)
        member = Member(sim, tmp_path / ME)
        try:
            await first_life(sim, member)
            found = report(member.state)
            truth = [number for number in range(stood[0] + 1, stood[1] + 1) if is_counted(sim, number)]
            check_report(found, truth, sim.committed(0), sim.peers[0].id)
            head = sim.committed(0)
            await second_life(sim, restart_file(found, tmp_path, key), found)
            await sim.finish()
            assert sim.committed(0) >= found["last_clean"]["round"] + 4
            member.close()
            after = tmp_path / "after" / ME
            after.mkdir(parents=True)
            for name in (LEDGER_NAME, TRAINED_NAME, "charter.toml"):
                (after / name).write_bytes((member.state / name).read_bytes())
            member.save(after)
            again = report(after)
            assert not again["rounds"] and not again["affected"] and again["restart"] is None
            assert head > found["last_clean"]["round"]
        finally:
            member.close()

    run_virtual(main())
    assert "on record: letters, manuals" in tapestry("audit", "withdraw", "diaries", "--state", tmp_path / ME, code=2)
    check_edited(tmp_path / ME)


def is_counted(sim: Simulation, number: int) -> bool:
    """Whether an update of peer 0 is in a round, by the record alone."""
    decided = sim.decided(0, number)
    seat = decided.roster.index.get(sim.peers[0].id)
    return any(seat in decided.roster.contributors(bitmap) for bitmap in decided.value.contributors)


def check_report(found: dict, truth: list[int], head: int, peer: PeerId) -> None:
    first = truth[0]
    assert len(truth) >= 2 and found["rounds"] == truth
    assert all(each["peer"] == peer for each in found["contributions"]) and not found["faults"]
    assert found["last_clean"]["round"] == first - 1 >= 1
    assert [each["round"] for each in found["affected"]] == list(range(first, head + 1))
    assert truth[-1] < head, "withdrawn before the last rounds, whose bases it is in all the same"
    assert len(found["holders"]) == 3 and len(found["artefacts"]) == 1
    assert found["restart"]["round"] == first - 1
    assert {Path(path).name for path in found["copies"]} == {f"{number:09d}" for number in range(first, head + 1)}


def check_edited(state: Path) -> None:
    """Who takes the data set out of the session's line is found out: its digest is in the ledger."""
    path = state / TRAINED_NAME
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[2], ""]))
    with_hole = report_text(state)
    assert "does not hold" in with_hole and "is gone" in with_hole


def report_text(state: Path) -> str:
    return tapestry("audit", "withdraw", CLEAN, "--state", state)
