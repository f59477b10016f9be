"""A peer's state folder as a real one leaves it, made by a simulated swarm: records, means, checkpoints, evidence.

Peer 0 of three, on two data sets, with a ledger on disk. Rounds are few enough that their means are all kept; a test
can take some away.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import numpy as np

from swarm.charter import files
from swarm.charter.manifest import Charter
from swarm.charter.signing import SignedCharter, run_id, sign_charter
from swarm.identity.key import Identity
from swarm.net.memory import run_virtual
from swarm.sovereignty import statements, trained
from swarm.sovereignty.artefacts import DataUsed
from swarm.sovereignty.entry import decode_line
from swarm.sovereignty.gate import InForce
from swarm.sovereignty.heads import OwnHeads
from swarm.sovereignty.labels import Label
from swarm.sovereignty.lattice import Restrictions
from swarm.sovereignty.ledger import LEDGER_NAME, Ledger
from swarm.sovereignty.policy import read_policy
from swarm.sovereignty.signed import Receipt
from swarm.sovereignty.uses import Privacy, Use
from swarm.state.archive import Archive
from swarm.state.disk import replace_file
from swarm.state.policies import keep_policy
from swarm.state.run import Run
from swarm.state.tensors import safetensors_parts
from tests.simulation import MEMBER_KEYS, Simulation, make_charter, peer_identity

SECRET_NAME = "letters of the cabinet"
POLICY = f"""version = 2

[[dataset]]
name = "manuals"
files = ["manuals.txt"]
label = "open"
residency = "DE"
licence = "CC0-1.0"
language = "de"
uses = ["shared-base"]

[[dataset]]
name = "{SECRET_NAME}"
files = ["letters.txt"]
label = "controlled"
residency = "DE"
licence = "CC0-1.0"
language = "de"
uses = ["shared-base"]
"""
ME: Identity = peer_identity(0)
ROUNDS = 5


def dataset(name: str, label: Label) -> DataUsed:
    return DataUsed(
        name=name,
        label=label,
        residency="DE",
        licence="CC0-1.0",
        uses=(Use.SHARED_BASE,),
        privacy=Privacy.LICENCE,
        language="de",
        digest=f"digest of {name}",
        files=1,
        bytes=7,
    )


Play = Callable[[Simulation], Awaitable[None]]
Loss = Callable[[np.ndarray], float | None]


def make_state(
    state: Path,
    *,
    label: Label = Label.CONTROLLED,
    rounds: int = ROUNDS,
    elements: int = 3000,
    charter: Charter | None = None,
    scores: Mapping[int, Loss] | None = None,
    play: Play | None = None,
) -> Charter:
    """Plays a swarm of three for some rounds, or as `play` says; peer 0's folder afterwards."""
    charter = charter or make_charter(3, elements=elements)
    state.mkdir(parents=True)
    files.write(state / "charter.toml", sign_charter(SignedCharter(charter=charter), MEMBER_KEYS[0]))
    policy = write_policy(state.parent / "policy.toml")
    keep_policy(state, read_policy(policy))
    digest = read_policy(policy).digest

    async def main() -> int:
        sim = Simulation(charter)
        sim.scores.update(scores or {})
        with Ledger(state / LEDGER_NAME, lambda: 0.0) as ledger:
            data = [dataset("manuals", Label.OPEN), dataset(SECRET_NAME, label)]
            trained.begin(state, ledger, policy=digest, data=data, isolation="none", owner="m0", at=0.0)
            await sim.start(0, policy=InForce(digest, Restrictions()), ledger=ledger)
            await asyncio.gather(sim.start(1), sim.start(2))
            if play is None:
                await sim.until_round(rounds, 0)
                last = rounds
            else:
                await play(sim)
                last = sim.committed(0)
            save_disk(sim, state, last)
            await sim.finish()
        return last

    last = run_virtual(main())
    with Ledger(state / LEDGER_NAME, lambda: 0.0) as ledger:
        asyncio.run(OwnHeads(state, ME, run_id(charter), ledger).sign(last, 0.0))
    countersign(state, run_id(charter))
    (state / "residual").write_bytes(b"what is left over of private data")
    (state / "events.jsonl").write_text("{}\n")
    return charter


def write_policy(path: Path, text: str = POLICY) -> Path:
    path.write_text(text)
    return path


def save_disk(sim: Simulation, state: Path, rounds: int) -> None:
    """No threads: time is virtual."""
    store, run = sim.peers[0].store, Run(sim.charter)
    archive = Archive(run, store)
    for name in ("records", "results", "snapshots", "governance"):
        (state / name).mkdir()
    for number in range(1, rounds + 1):
        record, decided = store.load_record(number), archive.committed(number)
        assert record is not None and decided is not None
        replace_file(state / "records" / f"{number:09d}", [record])
        if decided.value.is_rejected:
            continue
        means = [archive.result(decided.value, decided.digest, chunk) for chunk in range(run.grid.chunks)]
        assert all(means)
        replace_file(state / "results" / f"{number:09d}-{decided.digest.hex()[:32]}", [mean or b"" for mean in means])
    replace_file(state / "acceptor", [store.load_acceptor() or b""])
    if (restarts := store.load_restarts()) is not None:
        replace_file(state / "restarts", [restarts])
    base_N = sim.base_zero()
    save_checkpoint(state, 0, (base_N, np.zeros_like(base_N)))


def save_checkpoint(state: Path, number: int, vectors: tuple) -> None:
    named = {"base" if place == 0 else f"outer.{place - 1}": vector for place, vector in enumerate(vectors)}
    replace_file(state / "snapshots" / f"{number:09d}", safetensors_parts(named))


def countersign(state: Path, run: str) -> None:
    """Another peer's receipt for the first frames that it was sent."""
    other = peer_identity(1)
    (state / "receipts" / "got").mkdir(parents=True)
    entries = [decode_line(line) for line in (state / LEDGER_NAME).read_bytes().splitlines(keepends=True)]
    sent = [entry for entry in entries if entry.peer == other.peer_id][:5]
    digests = b"".join(bytes.fromhex(entry.digest) for entry in sent)
    receipt = Receipt(run, ME.peer_id, 1, sum(entry.bytes for entry in sent), digests, 0.0)
    statements.append(state / "receipts" / "got" / f"{other.peer_id}.jsonl", [receipt.sign(other)])
