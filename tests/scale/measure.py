"""What is counted, round by round, and what the words mean.

closing     the instant a leader closes the roster that the round then commits
commit      the instant the first peer, its leader, holds the certificate
in step     alive at the closing and at the base that this round starts from: it has committed the round before, and its
            inner steps are done or under way
present     in step, and alive until the commit; who dies or leaves between the two is nobody's failure
counted     in the committed roster, and in the contributors of every chunk
share       counted / present: this is what a round is judged by
catching up alive at the closing at an older base or at none: fresh machines and returned ones on their way. They are no
            part of `share`; `share_of_live` sets them against everybody alive at the closing who lives until the commit
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from statistics import median

from swarm import events
from swarm.identity.peer_id import PeerId
from tests.scale.swarm import CountedPeer, ScaleSwarm


@dataclass(frozen=True)
class Closing:
    """Who lived when a roster was closed: machine number -> which of its lives."""

    form_s: float
    in_step: dict[int, int]
    catching_up: dict[int, int]


@dataclass(frozen=True)
class Round:
    """One committed round; times are virtual seconds."""

    number: int
    attempt: int
    present: int
    seated: int
    """Of those present, in the committed roster."""
    counted: int
    catching_up: int
    form_s: float
    round_s: float
    """From the commit before."""
    messages: int
    sent_bytes: int
    """By all peers, since the commit before."""
    most_sent_bytes: int
    """By the peer that sent most: the leader."""

    @property
    def share(self) -> float:
        return self.counted / self.present

    @property
    def share_of_live(self) -> float:
        return self.counted / (self.present + self.catching_up)


@dataclass
class Measure:
    """Hears every event of a swarm; `rounds` grows by one at each commit."""

    rounds: list[Round] = field(default_factory=list[Round])
    kinds: Counter[str] = field(default_factory=Counter[str])
    digests: dict[int, set[str]] = field(default_factory=dict[int, set[str]])
    """State digests that peers committed, by round: one each, or the swarm has split."""
    swarm: ScaleSwarm | None = None
    _closings: dict[tuple[int, int], Closing] = field(default_factory=dict[tuple[int, int], Closing])
    _sent: Counter[PeerId] = field(default_factory=Counter[PeerId])
    _messages: int = 0
    _last_commit_s: float = 0.0

    def attach(self, swarm: ScaleSwarm) -> None:
        self.swarm = swarm
        swarm.network.on_frame = self._on_frame

    def _on_frame(self, source: PeerId, target: PeerId, frame: bytes) -> None:
        self._messages += 1
        self._sent[source] += len(frame)

    def watch(self, peer: CountedPeer, event: events.AnyEvent) -> None:
        self.kinds[type(event).__name__] += 1
        match event:
            case events.RosterReady() if event.leader == peer.id:
                self._closings[event.round, event.attempt] = self._closing(event)
            case events.RoundCommitted():
                digests = self.digests.setdefault(event.round, set())
                digests.add(event.state_digest)
                if len(self.rounds) < event.round:
                    self._committed(peer, event)
            case _:
                pass

    def _closing(self, event: events.RosterReady) -> Closing:
        assert self.swarm is not None
        in_step: dict[int, int] = {}
        catching_up: dict[int, int] = {}
        for number, machine in self.swarm.peers.items():
            if self.swarm.is_alive(number):
                ctx = None if machine.engine is None else machine.engine.ctx
                is_here = ctx is not None and ctx.round == event.round
                (in_step if is_here else catching_up)[number] = self.swarm.network.life_of(machine.id)
        return Closing(event.form_s, in_step, catching_up)

    def _committed(self, peer: CountedPeer, event: events.RoundCommitted) -> None:
        assert self.swarm is not None
        decided = self.swarm.decided(peer.number, event.round)
        closing = self._closings[event.round, decided.roster.ballot.attempt]
        seats = set(range(len(decided.roster.seats)))
        for bitmap in decided.value.contributors:
            seats &= set(decided.roster.contributors(bitmap))
        counted = {decided.roster.peers[seat] for seat in seats}
        present = self._survivors(closing.in_step)
        now_s = asyncio.get_running_loop().time()
        self.rounds.append(
            Round(
                number=event.round,
                attempt=decided.roster.ballot.attempt,
                present=len(present),
                seated=len(present & set(decided.roster.peers)),
                counted=len(present & counted),
                catching_up=len(self._survivors(closing.catching_up)),
                form_s=closing.form_s,
                round_s=now_s - self._last_commit_s,
                messages=self._messages,
                sent_bytes=self._sent.total(),
                most_sent_bytes=max(self._sent.values(), default=0),
            )
        )
        self._last_commit_s = now_s
        self._messages = 0
        self._sent.clear()
        self._closings.clear()

    def _survivors(self, lives: dict[int, int]) -> set[PeerId]:
        assert self.swarm is not None
        peers = self.swarm.peers
        return {
            peers[number].id
            for number, life in lives.items()
            if number in peers and self.swarm.is_alive(number) and self.swarm.network.life_of(peers[number].id) == life
        }


@dataclass(frozen=True)
class Spread:
    """Of one figure over rounds."""

    least: float
    percent_1: float
    middle: float
    percent_99: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        ordered = sorted(values)
        last = len(ordered) - 1
        return cls(ordered[0], ordered[round(last * 0.01)], median(ordered), ordered[round(last * 0.99)], ordered[last])


def total_share(rounds: list[Round]) -> float:
    """Counted over present, all rounds together."""
    return sum(each.counted for each in rounds) / sum(each.present for each in rounds)
