"""The acceptor under everything a network and a crash can do: two different values are never chosen in one round.

Peers are acceptors and may lead. Messages are reordered, dropped and duplicated; a crash loses everything but what the
acceptor made durable, and may fall between the write and the message it allows. A leader that comes back may lead the
same ballot again. A value counts as chosen as soon as a quorum has it on disk, whoever knows of it. Quorums are of
members' voices: some peers are of one member, and a value may be a rejection like any other (the quality votes that
came in before its leader proposed decide which it is).

Two drivers for one model: a stateful machine, which shrinks what it finds, and seeded random walks, which get further.
"""

import random
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from swarm.identity.peer_id import PeerId
from swarm.net.wire import Accepted, Ballot
from swarm.round.acceptor import AcceptorState, accept, highest, may_be_decided, promise
from swarm.state.electorate import Electorate

ROUND = 1
NAMES = tuple(PeerId(name) for name in "abcde")
NOBODY: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Promised:
    """A join on its way to its leader."""

    ballot: Ballot
    by: int
    accepted: Accepted | None


@dataclass(frozen=True)
class Proposed:
    """A proposal on its way to everybody."""

    ballot: Ballot
    value: bytes


@dataclass
class Leading:
    """What a leader knows of its attempt; gone with its process."""

    ballot: Ballot
    promises: dict[int, Accepted | None] = field(default_factory=dict)
    is_closed: bool = False


class Model:
    """Peers 0..count-1, what is on their disks, and what is on its way."""

    def __init__(self, count: int, members: str = "") -> None:
        """`members[n]` is the member of peer n; each is its own if there are none."""
        self.disks = [AcceptorState(0) for _ in range(count)]
        self.leading: dict[int, Leading] = {}
        self.network: list[Promised | Proposed] = []
        self.votes: dict[tuple[Ballot, bytes], set[int]] = {}
        self.proposed: dict[Ballot, bytes] = {}
        peers = [PeerId(str(peer)) for peer in range(count)]
        named = frozenset(zip(peers, members, strict=False))
        self.electorate = Electorate(frozenset(peers), frozenset(), members=named)
        self.is_against: dict[int, bool] = {}
        """What peers have said of the candidate; it is with the leader, or lost with it."""
        self.passed_over = 0
        """Values that leaders found, and did not propose again."""

    def chosen(self) -> set[bytes]:
        return {value for (_, value), voters in self.votes.items() if self.is_quorum(voters)}

    def is_quorum(self, peers: Collection[int]) -> bool:
        return self.electorate.has_quorum(PeerId(str(peer)) for peer in peers)

    def score(self, peer: int, is_against: bool) -> None:
        """A quality vote reaches whoever leads; it may come late, again, or differ from an earlier one."""
        self.is_against[peer] = is_against

    def value(self) -> bytes:
        """A new candidate, or its rejection: every one of them is another value."""
        against = sum(self.is_against.values())
        kind = b"rejection" if 2 * against > len(self.disks) else b"value"
        return b"%s %d" % (kind, len(self.votes))

    def lead(self, peer: int, attempt: int, joining: Set[int], arriving: Set[int], dying: Set[int]) -> None:
        """A peer leads an attempt; some join it. A join arrives now or later, or its author dies before sending it."""
        ballot = Ballot(attempt, NAMES[peer])
        if not self._promise(peer, ballot):
            return
        self.leading[peer] = Leading(ballot, {peer: self._vote_of(peer)})
        for other in sorted(joining - {peer}):
            if not self._promise(other, ballot):
                continue
            if other in dying:
                self.crash(other)
                continue
            join = Promised(ballot, other, self._vote_of(other))
            self.network.append(join)
            if other in arriving:
                self._arrive(join)

    def able(self) -> Sequence[int]:
        """Leaders that may propose; one that did may do so again."""
        return sorted(peer for peer, led in self.leading.items() if self.is_quorum(led.promises.keys()))

    def propose(self, peer: int, voting: Set[int], is_dying: bool, objects: bool = False) -> None:
        """A leader with a quorum proposes the value of the highest vote among the promises, or a new one.

        As in lead.py its own vote is on disk first; it may die before the proposal leaves. One that `objects` to every
        value it finds (quality votes are left out of it) proposes again only what may have been decided.
        """
        leading = self.leading[peer]
        leading.is_closed = True
        found = {PeerId(str(other)): vote for other, vote in (leading.promises | {peer: self._vote_of(peer)}).items()}
        votes = {other: vote for other, vote in found.items() if vote is not None}
        first = highest(list(votes.values()))
        before = first
        if objects:
            possible = [v for v in votes.values() if may_be_decided(v.value, votes, found.keys(), self.electorate)]
            before = highest(possible)
        self.passed_over += first != before
        value = self.value() if before is None else before.value
        if not self._vote(peer, leading.ballot, value):
            del self.leading[peer]
            return
        assert self.proposed.setdefault(leading.ballot, value) == value, "one ballot, two values"
        if is_dying:
            self.crash(peer)
            return
        self.network.append(Proposed(leading.ballot, value))
        for other in sorted(voting):
            self._vote(other, leading.ballot, value)

    def deliver(self, message: Promised | Proposed, peer: int) -> None:
        """Any message, in any order, and again later: it stays in the network until it is dropped."""
        if isinstance(message, Promised):
            self._arrive(message)
        else:
            self._vote(peer, message.ballot, message.value)

    def crash(self, peer: int) -> None:
        """Only what is on disk stays."""
        self.leading.pop(peer, None)

    def move_on(self, peer: int, rounds: int) -> None:
        """A peer that learnt of the result opens a later round; one round on it still answers for this one."""
        moved = promise(self.disks[peer], ROUND + rounds, Ballot(1, NAMES[0]))
        if moved is not None:
            self.disks[peer] = moved
            self.crash(peer)

    def check(self) -> None:
        assert len(self.chosen()) <= 1, self.votes

    def _arrive(self, join: Promised) -> None:
        for leading in self.leading.values():
            if leading.ballot == join.ballot and not leading.is_closed:
                leading.promises[join.by] = join.accepted

    def _vote_of(self, peer: int) -> Accepted | None:
        here = self.disks[peer].of(ROUND)
        return None if here is None else here.accepted

    def _promise(self, peer: int, ballot: Ballot) -> bool:
        promised = promise(self.disks[peer], ROUND, ballot)
        if promised is not None:
            self.disks[peer] = promised
        return promised is not None

    def _vote(self, peer: int, ballot: Ballot, value: bytes) -> bool:
        voted = accept(self.disks[peer], ROUND, ballot, value)
        if voted is not None:
            self.disks[peer] = voted
            self.votes.setdefault((ballot, value), set()).add(peer)
        return voted is not None


numbers = st.integers(0, len(NAMES) - 1)
crowds = st.sets(numbers)


class PaxosRound(RuleBasedStateMachine):
    @initialize(count=st.integers(2, 5), members=st.text("xyz", min_size=5, max_size=5) | st.just(""))
    def begin(self, count: int, members: str) -> None:
        self.count = count
        self.model = Model(count, members)

    @rule(peer=numbers, is_against=st.booleans())
    def score(self, peer: int, is_against: bool) -> None:
        self.model.score(peer % self.count, is_against)

    def crowd(self, drawn: Set[int]) -> Set[int]:
        return {number for number in drawn if number < self.count}

    @rule(peer=numbers, attempt=st.integers(1, 4), joining=crowds, arriving=crowds, dying=crowds)
    def lead(self, peer: int, attempt: int, joining: Set[int], arriving: Set[int], dying: Set[int]) -> None:
        self.model.lead(peer % self.count, attempt, self.crowd(joining), arriving, dying)
        self.model.check()

    @precondition(lambda self: self.model.able())
    @rule(data=st.data(), voting=crowds, is_dying=st.booleans(), objects=st.booleans())
    def propose(self, data: st.DataObject, voting: Set[int], is_dying: bool, objects: bool) -> None:
        self.model.propose(data.draw(st.sampled_from(self.model.able())), self.crowd(voting), is_dying, objects)
        self.model.check()

    @precondition(lambda self: self.model.network)
    @rule(data=st.data(), peer=numbers)
    def deliver(self, data: st.DataObject, peer: int) -> None:
        self.model.deliver(data.draw(st.sampled_from(self.model.network)), peer % self.count)
        self.model.check()

    @precondition(lambda self: self.model.network)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        self.model.network.remove(data.draw(st.sampled_from(self.model.network)))

    @rule(peer=numbers)
    def crash(self, peer: int) -> None:
        self.model.crash(peer % self.count)

    @precondition(lambda self: self.model.chosen())
    @rule(peer=numbers, rounds=st.integers(1, 2))
    def move_on(self, peer: int, rounds: int) -> None:
        self.model.move_on(peer % self.count, rounds)


TestPaxosRound = PaxosRound.TestCase
TestPaxosRound.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def walk(random_: random.Random, steps: int) -> Model:
    count = random_.randint(2, 5)
    model = Model(count, random_.choice(("", "xxyyz", "xxxyz", "xyxyx")))

    def some(share: float) -> Set[int]:
        return {number for number in range(count) if random_.random() < share}

    for _ in range(steps):
        able = model.able()
        action = random_.random()
        model.score(random_.randrange(count), random_.random() < 0.6)
        if able and action < 0.35:
            model.propose(random_.choice(able), some(0.4), random_.random() < 0.2, random_.random() < 0.5)
        elif model.network and action < 0.6:
            model.deliver(random_.choice(model.network), random_.randrange(count))
        elif model.network and action < 0.65:
            model.network.remove(random_.choice(model.network))
        elif action < 0.7:
            model.crash(random_.randrange(count))
        elif model.chosen() and action < 0.75:
            model.move_on(random_.randrange(count), random_.randint(1, 2))
        else:
            newest = max((ballot.attempt for ballot in model.proposed), default=0)
            attempt = max(1, newest + random_.choice((-1, 0, 1, 1, 1)))
            model.lead(random_.randrange(count), attempt, some(0.6), some(0.8), some(0.1))
        model.check()
    return model


@pytest.mark.parametrize("seed", range(20))
def test_random_walks(seed: int) -> None:
    random_ = random.Random(seed)
    ends = [walk(random_, 40) for _ in range(60)]
    kinds = {value.split()[0] for model in ends for value in model.chosen()}
    assert kinds == {b"value", b"rejection"}, "both must have been chosen somewhere"
    assert sum(bool(model.chosen()) for model in ends) > 20, "walks in which nothing is ever chosen prove nothing"
    assert sum(model.passed_over for model in ends) > 20, "leaders must have passed over values that were not decided"


def test_a_later_leader_finds_the_value_that_was_chosen() -> None:
    model = Model(3)
    model.lead(0, 1, {1}, {1}, NOBODY)
    model.propose(0, {1}, is_dying=False)
    (value,) = model.chosen()
    model.crash(0)
    model.lead(2, 2, {1}, {1}, NOBODY)
    model.propose(2, {1}, is_dying=False)
    assert model.proposed[Ballot(2, NAMES[2])] == value


def test_a_leader_that_comes_back_proposes_the_same_value_in_its_ballot() -> None:
    model = Model(3)
    model.lead(0, 1, {1}, {1}, NOBODY)
    model.propose(0, NOBODY, is_dying=True)
    (value,) = model.proposed.values()
    model.lead(0, 1, {1, 2}, {1, 2}, NOBODY)
    model.propose(0, {1, 2}, is_dying=False)
    assert model.chosen() == {value}


def test_of_two_votes_the_one_in_the_higher_ballot_counts() -> None:
    model = Model(3)
    model.lead(0, 1, {1}, {1}, NOBODY)
    model.propose(0, NOBODY, is_dying=False)
    model.lead(1, 2, {2}, {2}, NOBODY)
    model.propose(1, {2}, is_dying=False)
    (value,) = model.chosen()
    model.lead(2, 3, {0}, {0}, NOBODY)
    model.propose(2, {0}, is_dying=False)
    assert model.chosen() == {value}
