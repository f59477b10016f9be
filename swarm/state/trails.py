"""What state folders say of the past, read only: the verified chain, and each peer's own records of its training.

A folder is read as it lies, also while its peer runs. The chain is verified from the charter; sessions are checked
against the ledger that their digests are in. What does not hold is said and never passed over.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from swarm.errors import StateError
from swarm.sovereignty.audit import owner_of
from swarm.sovereignty.decisions import Decision, basis_of, read_decision
from swarm.sovereignty.ledger import LEDGER_NAME, whole
from swarm.sovereignty.permit import Kind
from swarm.sovereignty.trained import POLICY_ENTRY, TRAINED_NAME, read_lines
from swarm.sovereignty.withdrawal import Base, Round, Trail
from swarm.state.chain import kept_chain
from swarm.state.disk import read_file
from swarm.state.run import Run
from swarm.state.shared_base import exports
from swarm.state.store import result_rounds, snapshot_rounds


def read_trail(state: Path) -> Trail:
    """One peer's records of what it trained on. Raises StateError when they cannot be read."""
    ledger = state / LEDGER_NAME
    lines = read_lines(state)
    on_ledger: dict[str, int] = {}
    updates: list[tuple[int, Decision]] = []
    try:
        with ledger.open("rb") as file:
            for entry in filter(None, map(whole, file)):
                if entry.kind is not Kind.DECISION:
                    continue
                decision = read_decision(entry.permit)
                if decision is None and entry.permit.startswith(POLICY_ENTRY):
                    on_ledger[entry.digest] = entry.n
                elif decision is not None and (decision.verdict, decision.subject) == ("permit", "update"):
                    updates.append((entry.n, decision))
    except OSError as error:
        raise StateError(f"cannot read the ledger {ledger}: {error.strerror}") from None
    faults: list[str] = []
    for session, digest in lines:
        if on_ledger.pop(digest, None) != session.entry:
            faults.append(f"{state / TRAINED_NAME}: the session at entry {session.entry} is not the one in the ledger")
    faults += [f"{state / TRAINED_NAME}: the session at entry {n} of the ledger is gone" for n in on_ledger.values()]
    sessions = tuple(session for session, _ in lines)
    return Trail(str(state), owner_of(ledger), sessions, tuple(updates), tuple(faults))


def read_rounds(run: Run, state: Path) -> tuple[Base, tuple[Round, ...]]:
    """The charter's state 0, and the rounds whose records in a state folder verify. Raises StateError."""
    rounds: list[Round] = []
    for _, decided in kept_chain(run, record_reader(state)):
        value, roster = decided.value, decided.roster
        # What a vote on quality has rejected is in no base.
        bitmaps = () if value.is_rejected else set(value.contributors)
        seats = {seat for bitmap in bitmaps for seat in roster.contributors(bitmap)}
        rounds.append(
            Round(
                number=value.round,
                record=decided.digest.hex(),
                basis=basis_of(value.base_digest, roster.ballot.term, roster.ballot.attempt),
                state=value.state_digest.hex(),
                peers=roster.peers,
                counted=frozenset(roster.peers[seat] for seat in seats),
            )
        )
    return Base(0, "", run.charter.model.state_digest), tuple(rounds)


def record_reader(state: Path) -> Callable[[int], bytes | None]:
    """The records in a state folder, by round; it raises StateError."""

    def load(number: int) -> bytes | None:
        return read_file(state / "records" / f"{number:09d}")

    return load


def restorable(states: Sequence[Path], until: int) -> tuple[int, Path] | None:
    """The latest round up to `until` that one of these folders can go back to, and which; None if none can."""
    found = [(reached, state) for state in states if (reached := _reached(state, until)) is not None]
    return max(found, key=lambda each: each[0], default=None)


def _reached(state: Path, until: int) -> int | None:
    """From its newest checkpoint that is not later, by the results that are still kept."""
    reached = max((number for number in snapshot_rounds(state) if number <= until), default=None)
    if reached is not None:
        results = result_rounds(state)
        while reached < until and reached + 1 in results:
            reached += 1
    return reached


def copies(state: Path, since: int) -> tuple[Path, ...]:
    """Files in a state folder that are made from the base of round `since` or a later one, as far as names tell."""
    found = [
        path
        for folder in ("snapshots", "results")
        for path in sorted((state / folder).glob("*"))
        if _round_in(path.name) >= since
    ]
    found += [path for name in ("residual", "trainer", "download") if (path := state / name).exists()]
    return (*found, *exports(state))


def _round_in(name: str) -> int:
    digits = name[:9]
    return int(digits) if digits.isdecimal() else -1
