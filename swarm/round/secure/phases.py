"""The phases of a secure sum as a pure machine: what happened goes in, what to do comes out. One peer, one attempt.

    A  masked parts are out; each owner answers with a signed receipt        Receipt(owner)
    B  all receipts here: this peer says so, signed                          -> SayAllKept
    C  everybody's word is here: it reveals its self-mask                    -> Reveal
       a circle's self-masks are here: its owners take them off

Whoever is missing in A or B ends the attempt before a self-mask has left: nothing can be learnt from what was sent, and
the same update may go into another attempt under fresh keys. From C on it is spent: it is in this sum or in none.
After an end nothing comes out any more, whatever comes in.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum


class Code(StrEnum):
    """Why a secure sum came to nothing. Codes are stable."""

    MEMBER_LOST = "member_lost"
    """Somebody in the roster is gone."""
    TOO_LATE = "too_late"
    """Something did not come before its deadline."""
    INCOMPLETE = "incomplete"
    """A giver's own gate let nothing out, or a sum came without parts that belong in it."""
    BAD_RECEIPT = "bad_receipt"
    """A receipt for other parts than were sent."""
    OTHER_GROUP = "other_group"
    """Somebody speaks of another roster, round or range under this ballot: its leader may have signed two."""
    BAD_KEY = "bad_key"
    """A mask key that gives no secret."""
    BAD_MASK = "bad_mask"
    """Two self-masks of one member."""
    OUT_OF_RANGE = "out_of_range"
    """What is left when the masks are off is no sum of updates: some mask was wrong. Whose cannot be told."""


@dataclass(frozen=True)
class Receipt:
    """An owner has this peer's parts."""

    owner: int


@dataclass(frozen=True)
class Word:
    """A giver has all its receipts."""

    seat: int


@dataclass(frozen=True)
class Seed:
    """A giver's self-mask."""

    seat: int
    seed: bytes


@dataclass(frozen=True)
class Failure:
    """The sum cannot be completed."""

    code: Code


Happened = Receipt | Word | Seed | Failure


@dataclass(frozen=True)
class SayAllKept:
    """Sign and send this peer's word."""


@dataclass(frozen=True)
class Reveal:
    """The update is spent from here on: make that durable, then send the self-mask."""


@dataclass(frozen=True)
class End:
    """Forget every secret of this attempt; send nothing more of it."""

    code: Code
    is_spent: bool


Todo = SayAllKept | Reveal | End


@dataclass(frozen=True)
class Phases:
    """Where one peer is. `seat` is None for one that gives nothing: it owns, and passes on what others say."""

    seat: int | None
    givers: frozenset[int]
    due: frozenset[int]
    """Owners that have yet to send this peer their receipt."""
    words: frozenset[int] = frozenset()
    seeds: dict[int, bytes] = field(default_factory=dict[int, bytes])
    has_said: bool = False
    is_revealed: bool = False
    ended: Code | None = None


def begin(phases: Phases) -> tuple[Phases, tuple[Todo, ...]]:
    """What to do before anything has happened: who sends its parts to nobody needs no receipt."""
    return _due(phases)


def after(phases: Phases, happened: Happened) -> tuple[Phases, tuple[Todo, ...]]:
    """The machine's one step."""
    if phases.ended is not None:
        return phases, ()
    match happened:
        case Receipt(owner):
            return _due(replace(phases, due=phases.due - {owner}))
        case Word(seat):
            return _due(replace(phases, words=phases.words | {seat}))
        case Seed(seat, seed):
            if phases.seeds.get(seat, seed) != seed:
                return _end(phases, Code.BAD_MASK)
            return replace(phases, seeds=phases.seeds | {seat: seed}), ()
        case Failure(code):
            return _end(phases, code)


def _due(phases: Phases) -> tuple[Phases, tuple[Todo, ...]]:
    todo: list[Todo] = []
    if phases.seat is not None and not phases.due and not phases.has_said:
        phases = replace(phases, has_said=True, words=phases.words | {phases.seat})
        todo.append(SayAllKept())
    if phases.has_said and phases.words >= phases.givers and not phases.is_revealed:
        phases = replace(phases, is_revealed=True)
        todo.append(Reveal())
    return phases, tuple(todo)


def _end(phases: Phases, code: Code) -> tuple[Phases, tuple[Todo, ...]]:
    return replace(phases, ended=code, seeds={}), (End(code, phases.is_revealed),)
