"""A run's past as a state folder has it: the charter, and the signed records one after the other, none passed over.

Read only, also while the folder's peer runs. Unlike a starting peer, which takes what verifies and asks the swarm for
the rest, a verifier stops with the cause at the first record that is missing or is not what its quorum signed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from peers.lineage.statement import STATE_DIGEST, Base, Counted, Parent, Span
from swarm.charter import files
from swarm.charter.signing import run_id, verify_charter
from swarm.errors import CharterError, LineageError, ProtocolError, UsageError
from swarm.identity.peer_id import PeerId
from swarm.state.chain import Mark
from swarm.state.records import Decided
from swarm.state.run import Run
from swarm.state.trails import record_reader

CHARTER_NAME = "charter.toml"


@dataclass(frozen=True)
class Step:
    """One round of the verified chain."""

    decided: Decided
    before: Mark
    after: Mark


def read_run(state: Path, expected_run_id: str | None) -> Run:
    """The run of a state folder, from its founders' signatures. Whether it has expired since does not matter.

    Raises:
        UsageError: there is no charter.
        LineageError: it is not signed as it must be, or is another run's.
    """
    path = state / CHARTER_NAME
    signed = files.read(path)
    if expected_run_id is not None and run_id(signed.charter) != expected_run_id:
        raise LineageError(f"{path} is the charter of run {run_id(signed.charter)}, not of {expected_run_id}")
    try:
        return Run(verify_charter(signed))
    except CharterError as error:
        raise LineageError(f"{path}: {error}") from None


def walk(run: Run, state: Path, until: int) -> Iterator[Step]:
    """The rounds from 1 to `until`, each verified from the one before.

    Raises:
        LineageError: a record is missing, or is not what its quorum signed.
    """
    load, mark = record_reader(state), Mark.genesis(run)
    while mark.round < until:
        data = load(mark.round + 1)
        if data is None:
            raise LineageError(f"the record of round {mark.round + 1} is missing in {state / 'records'}")
        try:
            decided = mark.verify(run, data)
        except ProtocolError as error:
            raise LineageError(f"{state / 'records'}, round {mark.round + 1}: {error}") from None
        step = Step(decided, mark, Mark.after(run, decided))
        yield step
        mark = step.after


def head_of(run: Run, state: Path) -> Mark:
    """Where the records in a state folder lead. Raises LineageError as `walk`."""
    mark = Mark.genesis(run)
    for step in walk(run, state, last_record(state)):
        mark = step.after
    return mark


def last_record(state: Path) -> int:
    """The highest round with a record in a state folder; 0 if there is none."""
    folder = state / "records"
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return max((int(name) for name in names if name.isdecimal()), default=0)


def base_at(run: Run, mark: Mark) -> Base:
    """A point of the chain, as statements name it."""
    return Base(
        run_id=run.id,
        run_name=run.charter.run.name,
        round=mark.round,
        record=mark.digest.hex(),
        state=mark.state_digest.hex(),
        epoch=mark.rules.epoch,
    )


def round_with(run: Run, steps: Iterable[Step], state: str) -> int | None:
    """The first round that has led to a state, in hex; None if none of these has, which begin with the first."""
    marks = [Mark.genesis(run), *(step.after for step in steps)]
    return next((mark.round for mark in marks if mark.state_digest.hex() == state), None)


def check_parents(run: Run, steps: Iterable[Step], parents: Iterable[Parent]) -> None:
    """Whether every Shared Base among these parents is a state of this chain, but for what is said to be withdrawn.

    Raises:
        LineageError: one is not, or is and is said not to be.
    """
    states = {run.genesis.charter.model.state_digest, *(step.after.state_digest.hex() for step in steps)}
    for parent in parents:
        if parent.domain != "shared":
            continue
        is_there = parent.digest.get(STATE_DIGEST) in states
        if not is_there and parent.relation != "withdrawn":
            raise LineageError(f"a missing parent: {parent.name} is no state in the chain of run {run.id}")
        if is_there and parent.relation == "withdrawn":
            raise LineageError(f"{parent.name} is a state in the chain of run {run.id}, and is said to be withdrawn")


def require_state(state: Path) -> Path:
    """A state folder. Raises UsageError when nothing lies there."""
    if not (state / CHARTER_NAME).is_file():
        raise UsageError(f"{state} is not a peer's state folder: there is no {CHARTER_NAME} in it")
    return state


# --- spans ------------------------------------------------------------------------------------------------------------

_Seat = tuple[PeerId, str, str, int]
"""Peer, member, region, weight."""


@dataclass
class _Open:
    """A span that may still grow."""

    first: int
    last: int
    seats: tuple[_Seat, ...]
    rejected: int = 0
    counted: Counter[PeerId] = field(default_factory=Counter[PeerId])
    tokens: Counter[PeerId] = field(default_factory=Counter[PeerId])

    def add(self, decided: Decided) -> None:
        self.last = decided.value.round
        if decided.value.is_rejected:
            self.rejected += 1
            return
        roster = decided.roster
        seats = {number for bitmap in set(decided.value.contributors) for number in roster.contributors(bitmap)}
        for number in seats:
            seat = roster.seats[number]
            self.counted[seat.peer] += 1
            self.tokens[seat.peer] += seat.tokens

    def closed(self) -> Span:
        roster = tuple(
            Counted(
                peer=peer,
                member=member,
                region=region,
                weight=weight,
                rounds=self.counted[peer],
                tokens=self.tokens[peer],
            )
            for peer, member, region, weight in self.seats
        )
        return Span(first=self.first, last=self.last, rejected=self.rejected, roster=roster)


def spans_of(decided: Iterable[Decided]) -> tuple[Span, ...]:
    """Who took part with which weight, round after round, successive equal rosters together."""
    found: list[_Open] = []
    for each in decided:
        roster, value = each.roster, each.value
        seats = tuple(
            (seat.peer, seat.member, seat.region, weight)
            for seat, weight in zip(roster.seats, value.weights, strict=True)
        )
        if not found or found[-1].seats != seats:
            found.append(_Open(value.round, value.round, seats))
        found[-1].add(each)
    return tuple(span.closed() for span in found)
