"""The quality floor: what members say of a candidate base on their own held-out data, and what follows from it. Pure.

Where the charter asks for it (`[quality]`), a value carries the signed votes of those in its roster, and from these
follows whether it leads to the candidate or is a *rejection*: a round that is committed like any other, takes its
number, and leaves the base as it was. Whoever reads the value counts again.

    a member's voice     one, split among those of its peers that voted; how many peers it has does not matter
    silence              of a member none of whose peers voted: for or against, as the charter says
    rejected             if more than half of the members' voices are against
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from swarm.charter.manifest import NoFloor, QualityVotes
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.state.roster import Roster
from swarm.state.run import Run

MAX_CHANGE_PERCENT = 100
"""Changes of a loss are told in whole per cent, and no larger ones than this."""


@dataclass(frozen=True)
class Tally:
    """The members' voices on one candidate."""

    accepting: Fraction
    rejecting: Fraction
    silent: int
    """Members that said nothing."""
    is_rejected: bool


class Votes(Protocol):
    """The part of a value that is about quality (swarm.state.records)."""

    @property
    def round(self) -> int: ...
    @property
    def base_digest(self) -> bytes: ...
    @property
    def state_digest(self) -> bytes: ...
    @property
    def candidate(self) -> bytes: ...
    @property
    def quality(self) -> tuple[wire.Sealed, ...]: ...
    @property
    def is_rejected(self) -> bool: ...


def tally(members: Mapping[PeerId, str], accepts: Mapping[PeerId, bool], rule: QualityVotes) -> Tally:
    """Counts who `accepts`; `members` names the member of everybody who may vote."""
    by_member: dict[str, list[bool]] = {member: [] for member in members.values()}
    for peer, is_for in accepts.items():
        by_member[members[peer]].append(is_for)
    zero = Fraction(0)
    accepting = sum((Fraction(sum(said), len(said)) for said in by_member.values() if said), zero)
    silent = sum(not said for said in by_member.values())
    rejecting = len(by_member) - silent - accepting
    against = rejecting + (silent if rule.silence == "reject" else 0)
    return Tally(accepting, rejecting, silent, 2 * against > len(by_member))


def tally_of(run: Run, roster: Roster, votes: Iterable[wire.Sealed], *, base: bytes, candidate: bytes) -> Tally:
    """The tally of sealed votes on a candidate, given the state digests before and after.

    Raises:
        ProtocolError: the charter has no quality votes, or one of these is not what it should be.
    """
    rule = run.charter.quality
    if isinstance(rule, NoFloor):
        raise ProtocolError("quality votes in a run without a quality floor")
    members = {seat.peer: seat.member for seat in roster.seats}
    accepts: dict[PeerId, bool] = {}
    for sealed in votes:
        vote = wire.unseal(sealed, wire.QualityVote)
        if sealed.author not in members or sealed.author in accepts:
            raise ProtocolError("a quality vote of somebody who has none, or has given it")
        if (vote.run_id, vote.round, vote.base_digest, vote.candidate) != (run.id, roster.round, base, candidate):
            raise ProtocolError("a quality vote on something else")
        if vote.change_percent is not None and abs(vote.change_percent) > MAX_CHANGE_PERCENT:
            raise ProtocolError("a quality vote with an impossible change of the loss")
        accepts[sealed.author] = vote.accepts
    return tally(members, accepts, rule)


def check_quality(run: Run, roster: Roster, value: Votes) -> None:
    """Refuses a value that does not follow from the quality votes it carries.

    Raises:
        ProtocolError: says what is wrong.
    """
    if isinstance(run.charter.quality, NoFloor):
        if value.quality or value.candidate or value.is_rejected:
            raise ProtocolError("quality votes in a run without a quality floor")
        return
    if len(value.quality) > len(roster.seats):
        raise ProtocolError("more quality votes than there are peers in the roster")
    found = tally_of(run, roster, value.quality, base=value.base_digest, candidate=value.candidate)
    if value.is_rejected != found.is_rejected:
        raise ProtocolError("a value that does not follow from its quality votes")
    if value.state_digest != (value.base_digest if value.is_rejected else value.candidate):
        raise ProtocolError("a value that leads to another state than its quality votes say")
