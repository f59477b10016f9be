"""Who votes on a round, which of them are a quorum, and whose turn it is to lead an attempt.

All of it follows from the record before (or the charter), so every peer computes the same. A quorum is more than half
of the voices, which are members' (swarm.state.voices): whoever counts voters anywhere asks here.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from swarm.charter.admission import Admitted
from swarm.charter.epochs import GENESIS_RULES, Rules
from swarm.charter.passport import SignedPassport
from swarm.identity.peer_id import PeerId
from swarm.net.wire import Ballot
from swarm.state.roster import Roster
from swarm.state.run import Run
from swarm.state.voices import Voices, voices

_REMEMBERED_ORDERS = 64


@dataclass(frozen=True)
class Electorate:
    """Who votes on a round. A quorum is more than half of the voices; fewer decide only where the charter says so."""

    peers: frozenset[PeerId]
    """Peers of the last committed roster, or the charter's genesis."""
    witnesses: frozenset[PeerId]
    """Charter witnesses: they vote and never reduce."""
    undialable: frozenset[PeerId] = frozenset()
    term: int = 0
    """Number of the founders' restart in force."""
    restarts: tuple[bytes, ...] = ()
    """The founders' restarts that made it, by term; none once a record has followed them."""
    replaced: "Electorate | None" = None
    """The electorate that the last of these put an end to."""
    may_thin: bool = False
    """Quorum kind `available`: where fewer than a quorum are there, more than half of those decide."""
    members: frozenset[tuple[PeerId, str]] = frozenset()
    """Each peer with its member; a peer that is not in it is counted by itself."""
    passports: frozenset[SignedPassport] = field(default=frozenset(), compare=False, repr=False)
    """Of those with a seat on the last record; whom a document names has none here."""

    @cached_property
    def voters(self) -> frozenset[PeerId]:
        return self.peers | self.witnesses

    @cached_property
    def voices(self) -> Voices:
        return voices(self.peers, self.witnesses, dict(self.members))

    def withdrawn(self, rules: Rules) -> frozenset[PeerId]:
        """Voters who are silent under these rules: their passport on the last record is one that they refuse.

        They stay in the electorate, since quorums of two electorates would not share a voter.
        """
        if rules.in_force == GENESIS_RULES:
            return frozenset()
        found = (signed for signed in self.passports if not _admits(rules, signed))
        return frozenset(signed.payload.peer_id for signed in found)

    def has_quorum(self, peers: Iterable[PeerId]) -> bool:
        """Whether the voices of `peers` are more than half of all."""
        return self.voices.is_majority(peers)

    @cached_property
    def leading(self) -> frozenset[PeerId]:
        """Who may lead."""
        return (self.peers - self.undialable) or self.peers

    @property
    def is_thin(self) -> bool:
        """Whether the loss of one voter can leave no quorum."""
        heaviest = max(self.voices.shares, key=lambda peer: self.voices.shares[peer])
        return not self.has_quorum(self.voters - {heaviest})

    def first_quorum(self, peers: Iterable[PeerId]) -> list[PeerId]:
        """The first voters of `peers`, in their order, that are a quorum; all of them if there is none."""
        found: list[PeerId] = []
        needed, have = sum(self.voices.shares.values()) // 2, 0
        for peer in peers:
            if have > needed:
                break
            if peer in self.voters:
                found.append(peer)
                have += self.voices.shares[peer]
        return found

    def may_close(self, roster: Iterable[PeerId]) -> bool:
        """Whether a leader may have closed a roster of these peers; witnesses promise without a seat."""
        if self.may_thin:
            return not self.peers.isdisjoint(roster)
        return self.has_quorum(self.witnesses.union(roster))

    def decides(self, votes: Iterable[PeerId], roster: Iterable[PeerId]) -> bool:
        """Whether votes of these peers commit a value with this roster."""
        electors = self.peers.intersection(roster)
        if self.may_thin and not self.has_quorum(electors):
            return self.voices.is_majority(electors.intersection(votes), electors)
        return self.has_quorum(votes)

    @property
    def origin(self) -> "Electorate":
        """The electorate that the record before left, whatever restarts came since."""
        return self if self.replaced is None else self.replaced.origin

    def of_term(self, term: int) -> "Electorate | None":
        """The electorate of an earlier term since the last record, or this one; None if there was no such term."""
        if term == self.term:
            return self
        return None if self.replaced is None else self.replaced.of_term(term)

    def ballot(self, run_id: str, round_number: int, attempt: int) -> Ballot:
        """The ballot of an attempt: electors lead in turns, in the order of hash(run, round, attempt, peer).

        Once each has led, the attempt that follows gives a new order. Witnesses never lead, since they hold no state,
        and who cannot be dialled only where nobody can.
        """
        place = (attempt - 1) % len(self.leading)
        return Ballot(attempt, _leaders(self, run_id, round_number, attempt - place)[place], self.term)

    def has_ballot(self, run_id: str, round_number: int, ballot: Ballot) -> bool:
        """Whether a ballot names the leader everybody computes for its attempt and term."""
        electorate = self.of_term(ballot.term)
        if electorate is None or ballot.attempt < 1:
            return False
        return ballot == electorate.ballot(run_id, round_number, ballot.attempt)

    @classmethod
    def genesis(cls, run: Run) -> "Electorate":
        genesis = run.charter.genesis
        named = named_members(genesis.peers, genesis.members)
        return cls(frozenset(genesis.peers), frozenset(genesis.witnesses), members=named)

    @classmethod
    def after(cls, run: Run, roster: Roster, voters: "Electorate | None" = None) -> "Electorate":
        """The electorate of the round after one that `voters` (the charter's, if left out) committed with this roster.

        Where whoever is there may go on, the first round still takes a quorum: a run begins together. A roster of a
        term that founders ended names whom they gave up, so then those who voted go on.
        """
        if voters is not None and roster.ballot.term < voters.term:
            return cls(voters.peers, voters.witnesses, term=voters.term, members=voters.members)
        return cls(
            frozenset(roster.peers),
            frozenset(run.charter.genesis.witnesses) if voters is None else voters.witnesses,
            frozenset(seat.peer for seat in roster.seats if not seat.dialable),
            term=0 if voters is None else voters.term,
            may_thin=run.charter.quorum.kind == "available",
            members=frozenset((seat.peer, seat.member) for seat in roster.seats),
            passports=frozenset(seat.passport for seat in roster.seats if seat.passport is not None),
        )


def named_members(peers: Sequence[PeerId], members: Sequence[str]) -> frozenset[tuple[PeerId, str]]:
    """Peers with their members, where a document names both in the same order; "" stands for a peer by itself."""
    return frozenset((peer, member) for peer, member in zip(peers, members, strict=False) if member)


def _admits(rules: Rules, signed: SignedPassport) -> bool:
    """Whether a passport that held once is one of these rules; its expiry is not asked."""
    return isinstance(rules.admit(signed, signed.payload.peer_id, signed.payload.not_before), Admitted)


def few_of(peers: Sequence[PeerId], most: int, salt: str) -> list[PeerId]:
    """At most so many of `peers`, others for every salt; all of them in their order if there are no more."""
    if len(peers) <= most:
        return list(peers)
    return sorted(peers, key=lambda peer: hashlib.sha256(f"{salt}/{peer}".encode()).digest())[:most]


@lru_cache(_REMEMBERED_ORDERS)
def _leaders(electorate: Electorate, run_id: str, round_number: int, first: int) -> list[PeerId]:
    """Who leads attempt `first` and those after it; asked for by every join, value and frame, a hash per elector."""

    def place(peer: PeerId) -> bytes:
        return hashlib.sha256(f"{run_id}/{round_number}/{first}/{peer}".encode()).digest()

    return sorted(electorate.leading, key=place)
