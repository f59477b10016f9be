"""The acceptor under everything a network and a crash can do: two different values are never chosen in one round.

Peers are acceptors and may lead. Messages are reordered, dropped and duplicated; a crash loses everything but what the
acceptor made durable, and may fall between the write and the message it allows. A leader that comes back may lead the
same ballot again. Values are counted as chosen as soon as a quorum has them on disk, whoever knows of it.
"""

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from swarm.identity.peer_id import PeerId
from swarm.net.wire import Accepted, Ballot
from swarm.round.acceptor import AcceptorState, accept, highest, promise

ROUND = 1
NAMES = tuple(PeerId(name) for name in "abcde")
peers = st.integers(0, len(NAMES) - 1)
attempts = st.integers(1, 4)


@dataclass(frozen=True)
class Promised:
    ballot: Ballot
    by: int
    accepted: Accepted | None


@dataclass(frozen=True)
class Proposed:
    ballot: Ballot
    value: bytes


@dataclass
class Leading:
    """What a leader knows of its attempt; gone with its process."""

    ballot: Ballot
    promises: dict[int, Accepted | None] = field(default_factory=dict)
    is_closed: bool = False


class PaxosRound(RuleBasedStateMachine):
    @initialize(count=st.sampled_from((2, 3, 3, 4, 5)))
    def begin(self, count: int) -> None:
        self.disks = [AcceptorState(0) for _ in range(count)]
        self.leading: dict[int, Leading] = {}
        self.network: list[Promised | Proposed] = []
        self.votes: dict[tuple[Ballot, bytes], set[int]] = {}
        self.proposed: dict[Ballot, bytes] = {}
        self.values = 0

    @property
    def quorum(self) -> int:
        return len(self.disks) // 2 + 1

    def chosen(self) -> set[bytes]:
        return {value for (_, value), voters in self.votes.items() if len(voters) >= self.quorum}

    @rule(peer=peers, attempt=attempts)
    def lead(self, peer: int, attempt: int) -> None:
        peer %= len(self.disks)
        ballot = Ballot(attempt, NAMES[peer])
        if self._promise(peer, ballot):
            self.leading[peer] = Leading(ballot, {peer: self.disks[peer].accepted})

    @precondition(lambda self: self.leading)
    @rule(peer=peers, leader=st.randoms(use_true_random=False), is_lost=st.booleans())
    def join(self, peer: int, leader, is_lost: bool) -> None:
        """A peer joins some leader's attempt: the promise is durable before it is sent, or the peer dies in between."""
        peer %= len(self.disks)
        ballot = leader.choice(sorted(self.leading.items()))[1].ballot
        if self._promise(peer, ballot):
            if is_lost:
                self.crash(peer)
            else:
                self.network.append(Promised(ballot, peer, self.disks[peer].accepted))

    @precondition(lambda self: self.network)
    @rule(data=st.data(), peer=peers, is_lost=st.booleans())
    def deliver(self, data, peer: int, is_lost: bool) -> None:
        """Any message, in any order, and again later: it stays in the network until it is dropped."""
        message = data.draw(st.sampled_from(self.network))
        peer %= len(self.disks)
        match message:
            case Promised(ballot, by, accepted):
                for leading in self.leading.values():
                    if leading.ballot == ballot and not leading.is_closed:
                        leading.promises[by] = accepted
            case Proposed(ballot, value):
                self._vote(peer, ballot, value)
                if is_lost:
                    self.crash(peer)

    @precondition(lambda self: self.network)
    @rule(data=st.data())
    def drop(self, data) -> None:
        self.network.remove(data.draw(st.sampled_from(self.network)))

    @precondition(lambda self: any(len(led.promises) >= self.quorum for led in self.leading.values()))
    @rule(data=st.data(), is_lost=st.booleans())
    def propose(self, data, is_lost: bool) -> None:
        """A leader with a quorum of promises proposes the value of the highest vote among them, or a new one."""
        able = sorted(peer for peer, led in self.leading.items() if len(led.promises) >= self.quorum)
        peer = data.draw(st.sampled_from(able))
        leading = self.leading[peer]
        leading.is_closed = True
        own = self.disks[peer].accepted if self.disks[peer].round == ROUND else None
        before = highest([vote for vote in (own, *leading.promises.values()) if vote is not None])
        self.values += 1
        value = b"value %d" % self.values if before is None else before.value
        if not self._vote(peer, leading.ballot, value):
            del self.leading[peer]
            return
        assert self.proposed.setdefault(leading.ballot, value) == value, "one ballot, two values"
        if is_lost:
            self.crash(peer)
        else:
            self.network.append(Proposed(leading.ballot, value))

    @rule(peer=peers)
    def crash(self, peer: int) -> None:
        """Only what is on disk stays."""
        self.leading.pop(peer % len(self.disks), None)

    @precondition(lambda self: self.chosen())
    @rule(peer=peers)
    def move_on(self, peer: int) -> None:
        """A peer that learnt of the result opens the next round; its vote in this one stays cast."""
        peer %= len(self.disks)
        moved = promise(self.disks[peer], ROUND + 1, Ballot(1, NAMES[0]))
        if moved is not None:
            self.disks[peer] = moved
            self.crash(peer)

    @invariant()
    def one_value_at_most(self) -> None:
        if hasattr(self, "disks"):
            assert len(self.chosen()) <= 1, self.votes

    def _promise(self, peer: int, ballot: Ballot) -> bool:
        promised = promise(self.disks[peer], ROUND, ballot)
        if promised is None:
            return False
        self.disks[peer] = promised
        return True

    def _vote(self, peer: int, ballot: Ballot, value: bytes) -> bool:
        voted = accept(self.disks[peer], ROUND, ballot, value)
        if voted is None:
            return False
        self.disks[peer] = voted
        self.votes.setdefault((ballot, value), set()).add(peer)
        return True


TestPaxosRound = PaxosRound.TestCase
TestPaxosRound.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_a_quorum_chooses_a_value_when_nothing_fails() -> None:
    """The machine above would also hold if nothing were ever chosen."""
    machine = PaxosRound()
    machine.begin(3)
    machine.lead(0, 1)
    ballot = machine.leading[0].ballot
    for peer in (1, 2):
        assert machine._promise(peer, ballot)
        machine.leading[0].promises[peer] = None
    for peer in range(3):
        assert machine._vote(peer, ballot, b"value")
    assert machine.chosen() == {b"value"}
