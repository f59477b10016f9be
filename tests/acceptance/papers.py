"""A member's data folder, and its peer's gate and ledger under the policy in it, put together as a node does."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from peers.fingerprint import data_used
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.sovereignty import trained
from swarm.sovereignty.decisions import Decision, basis_of, read_decision
from swarm.sovereignty.gate import Denied, Gate, InForce
from swarm.sovereignty.lattice import join_all, restrictions_of
from swarm.sovereignty.ledger import LEDGER_NAME, Ledger, whole
from swarm.sovereignty.permit import Permit
from swarm.sovereignty.policy import find_policy, label_folder, read_policy
from swarm.vector.grid import Grid
from tests.simulation import peer_identity

AT_S = 1_750_000_000.0
HERE, NEAR, FAR = (peer_identity(number).peer_id for number in range(3))
"""This peer, one of its own region, and one of another."""
LETTERS = {
    "name": "letters",
    "files": '["letters/*.txt"]',
    "label": "open",
    "residency": "DE",
    "licence": "CC0-1.0",
    "language": "de",
    "uses": '["shared-base", "evaluation"]',
}


def table(**changed: str) -> str:
    """One `[[dataset]]`; keys that are not given are those of open letters that may be used for the Shared Base."""
    fields = {**LETTERS, **changed}
    lines = [f"{key} = {value if value.startswith('[') else repr(value)}" for key, value in fields.items()]
    return "\n".join(("[[dataset]]", *lines, ""))


def write_data(folder: Path, *tables: str, texts: Mapping[str, str] | None = None) -> Path:
    """A data folder with a policy of version 2 over these tables."""
    for name, text in (texts or {"letters/one.txt": "Sehr geehrte Damen und Herren"}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "policy.toml").write_text("version = 2\n" + "\n".join(tables))
    return folder


@dataclass
class Office:
    """One peer's side of it, with its state folder."""

    state: Path
    policy: InForce
    gate: Gate
    ledger: Ledger

    def ask(
        self, recipients: Mapping[PeerId, str], regions: Collection[str] = ("eu",), round_number: int = 1
    ) -> Permit | Denied:
        """Asks the gate to let a small update out."""
        return self.gate.check_update(
            round_number=round_number,
            update_N=np.full(4, 0.1, np.float32),
            grid=Grid(4, 4),
            max_rms=1.0,
            recipients=recipients,
            regions=regions,
            basis=basis_of(bytes(32), 0, 1),
        )

    def decisions(self) -> list[Decision]:
        """Those in the ledger file, in order."""
        lines = (self.state / LEDGER_NAME).read_bytes().splitlines(keepends=True)
        entries = [entry for entry in map(whole, lines) if entry is not None]
        return [decision for entry in entries if (decision := read_decision(entry.permit)) is not None]

    @property
    def sent_bytes(self) -> int:
        return sum(self.ledger.totals.values())


def open_office(data: Path, state: Path, *, min_contributors: int) -> Office:
    """What `tapestry peer` and its node make of a data folder, without processes."""
    rules = read_policy(find_policy(data, None))
    labelled = label_folder(data, rules)
    state.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(state / LEDGER_NAME, lambda: AT_S)
    bound = join_all(restrictions_of(file.dataset, rules.isolation) for file in labelled)
    trained.begin(
        state,
        ledger,
        policy=rules.digest,
        data=data_used(data, labelled, state),
        isolation=rules.isolation,
        owner="ada",
        at=AT_S,
    )
    policy = InForce(rules.digest, bound)
    gate = Gate(
        region="eu",
        label=bound.label,
        min_contributors=min_contributors,
        policy=policy,
        decided=lambda decision: ledger.note(decision.reason.encode(), decision.line),
    )
    return Office(state, policy, gate, ledger)


class Wire:
    """A stream to somebody that keeps what was sent."""

    def __init__(self, remote: PeerId) -> None:
        self.remote = remote
        self.sent: list[bytes] = []

    async def send(self, data: bytes) -> None:
        self.sent.append(bytes(data))

    def close(self) -> None:
        """Nothing to close."""


async def send_part(office: Office, stream: Wire, permit: Permit) -> None:
    """One chunk of an update through the audited transport."""
    audited = AuditedStream(stream, office.ledger, office.gate.standing)  # pyright: ignore[reportArgumentType]
    await audited.send(wire.Part(0, b"codes"), permit)
