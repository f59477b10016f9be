"""Bad input, by name: what other peers, or their documents, may do wrong while a swarm runs.

Each case is refused or aborted with a reason code, and a tap on the wire shows that nothing went out which should not.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest

from swarm import events
from swarm.charter.amendment import SignedAmendment
from swarm.charter.epochs import decode, encode
from swarm.charter.manifest import QualityVotes, SecureSum
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.memory import run_virtual
from swarm.round.context import Context
from swarm.round.seats import Guest
from swarm.round.secure.parts import MaskedParts
from swarm.vector.secure_codes import Words
from tests.governing import amendment, revocation
from tests.simulation import MEMBER_KEYS, REGIONS, Simulation, make_charter, peer_identity

FROM_TRAINING = {"Part", "Sum", "ChunkResult", "SelfMaskIs", "StateIs", "StateChunk", "CastQuality"}
"""Frames that carry, or open, what training has made."""


class Tag(msgspec.Struct):
    t: str


@dataclass
class Tap:
    """Every frame that went from one peer to another: when, from whom, to whom, of what kind."""

    seen: list[tuple[float, PeerId, PeerId, str]] = field(default_factory=list[tuple[float, PeerId, PeerId, str]])

    def on_frame(self, source: PeerId, target: PeerId, frame: bytes) -> None:
        kind = msgspec.msgpack.decode(frame, type=Tag).t
        self.seen.append((asyncio.get_running_loop().time(), source, target, kind))

    def kinds_to(self, target: PeerId, since_s: float = 0.0, until_s: float = 1e9) -> set[str]:
        return {kind for at_s, _, to, kind in self.seen if to == target and since_s <= at_s < until_s}


def context(sim: Simulation, number: int) -> Context:
    engine = sim.peers[number].engine
    assert engine is not None and engine.ctx is not None
    return engine.ctx


def causes(sim: Simulation, numbers: Iterable[int]) -> set[str]:
    return {event.reason for number in numbers for event in sim.peers[number].of(events.FrameRefused)}


def test_expired_passport_mid_round() -> None:
    """It serves until its group ends, and is refused by everybody from the next one on."""

    async def main() -> None:
        sim = Simulation(make_charter(4, members=4, regions=REGIONS[:1]), seed=8)
        tap = Tap()
        sim.network.on_frame = tap.on_frame
        for number in range(3):
            await sim.start(number)
        short = await sim.start(3, expires_in_s=1005.0)  # five seconds from now
        await sim.until_round(1)
        await asyncio.sleep(13.0 - asyncio.get_running_loop().time())
        at = sim.committed(0)
        await sim.until_round(at + 3, 0, 1, 2)
        assert tap.kinds_to(short.id, until_s=5.0) & FROM_TRAINING, "it took part while its passport was good"
        assert not tap.kinds_to(short.id, since_s=13.0) & FROM_TRAINING
        assert "not admitted: expired" in causes(sim, range(3))
        for number in range(at + 1, at + 4):
            assert short.id not in sim.decided(0, number).roster.peers
        sim.check()
        await sim.finish()

    run_virtual(main())


def test_revoked_member_as_part_owner() -> None:
    """It owned chunks; once the others have revoked its member it owns none, and gets nothing any more."""

    async def main() -> None:
        sim = Simulation(make_charter(5, members=5, regions=REGIONS[:1]), seed=3)
        tap = Tap()
        sim.network.on_frame = tap.on_frame
        for number in range(5):
            await sim.start(number)
        await sim.until_round(2)
        gone = sim.peers[4]
        assert "Part" in tap.kinds_to(gone.id), "it owned a chunk"
        run_id = sim.run_info.id
        document = revocation(run_id, MEMBER_KEYS[4].peer_id, MEMBER_KEYS[:4])
        await sim.peers[2].store.save_document("revoked.json", document)
        at = sim.committed(0)
        await sim.until_round(at + 2, 0, 1, 2, 3)
        out_s = asyncio.get_running_loop().time()
        await sim.until_round(at + 5, 0, 1, 2, 3)
        assert not tap.kinds_to(gone.id, since_s=out_s) & FROM_TRAINING
        assert "not admitted: revoked" in causes(sim, range(4))
        last = sim.decided(0, at + 5)
        assert gone.id not in last.roster.peers and last.value.epoch == 0
        sim.check()
        await sim.finish()

    run_virtual(main())


def forged(sim: Simulation) -> dict[str, bytes]:
    """Amendments that let single updates cross borders, none of them as the members in force would sign it."""
    rules, loose = sim.run_info.rules, {"reduce": {"min_contributors": 1, "single_update_may_cross": True}}
    strangers = [Identity.from_seed(bytes([77, n]) + bytes(30)) for n in range(3)]
    good, unsigned = decode(amendment(rules, MEMBER_KEYS[:3])), decode(amendment(rules, (), **loose))
    assert isinstance(good, SignedAmendment) and isinstance(unsigned, SignedAmendment)
    return {
        "too few": amendment(rules, MEMBER_KEYS[:2], **loose),
        "one member twice": amendment(rules, (MEMBER_KEYS[0], MEMBER_KEYS[0], MEMBER_KEYS[1]), **loose),
        "strangers": amendment(rules, strangers, **loose),
        "signatures of another one": encode(msgspec.structs.replace(unsigned, signatures=good.signatures)),
        "a fixed rule": amendment(rules, MEMBER_KEYS[:3], training={"mode": "gradient"}),
        "a region moved": amendment(rules, MEMBER_KEYS[:3], regions=REGIONS[:1]),
    }


def test_forged_amendment() -> None:
    """Refused where it is handed in and by those it is pushed to, passed on by nobody; the rules are as they were."""

    async def main() -> None:
        sim = Simulation(make_charter(3, members=3, min_contributors=3), seed=5)
        tap = Tap()
        for number in range(3):
            await sim.start(number)
        await sim.until_round(1)
        sim.network.on_frame = tap.on_frame
        documents = forged(sim)
        for name, data in documents.items():
            await sim.peers[1].store.save_document(f"{name}.json", data)
        await context(sim, 2).push([sim.peers[0].id], wire.PushDocuments(tuple(documents.values())))
        await sim.until_round(sim.committed(0) + 3)
        for number in (0, 1):
            said = sim.peers[number].of(events.DocumentRefused)
            assert [event.code for event in said] == ["refused"] * len(said) and len(said) >= 4
        pushed = [(source, target) for _, source, target, kind in tap.seen if kind == "PushDocuments"]
        assert pushed == [(sim.peers[2].id, sim.peers[0].id)]
        for number in range(3):
            assert context(sim, number).run.rules == sim.run_info.rules
        sim.check()
        await sim.finish()

    run_virtual(main())


def test_equivocating_roster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that signs several rosters of one attempt gets no quorum in it; the next one's attempt decides."""
    tell, told = Guest.tell, set[PeerId]()

    async def main() -> None:
        sim = Simulation(make_charter(6, regions=REGIONS[:1]), seed=17, rounds=3)

        def two_faced(self: Guest, frame: wire.Frame) -> None:
            is_first = (self.join.round, self.join.ballot.attempt) == (2, 1)
            if isinstance(frame, wire.RosterClosed) and is_first and len(told) < 3:
                leader = next(peer for peer in sim.peers.values() if peer.id == frame.roster.author)
                honest = wire.unseal(frame.roster, wire.Roster)
                kept = [join for join in honest.joins if join.author in (self.peer, leader.id)]
                rest = [join for join in honest.joins if join not in kept]
                frame = wire.RosterClosed(
                    wire.seal(leader.identity, msgspec.structs.replace(honest, joins=(*kept, *rest[1:])))
                )
                told.add(self.peer)
            tell(self, frame)

        monkeypatch.setattr(Guest, "tell", two_faced)
        for number in range(6):
            await sim.start(number)
        await sim.until_round(3)
        assert len(told) == 3, "the leader of round 2's first attempt has lied to half of the peers"
        ended = [event for peer in sim.peers.values() for event in peer.of(events.RoundCommitted) if event.round == 2]
        assert len(ended) == 6 and all(event.attempt > 1 for event in ended)
        lied_to = [peer.number for peer in sim.peers.values() if peer.id in told]
        for number in lied_to:
            assert "a proposal whose value is another one" in causes(sim, [number])
        assert len({sim.decided(number, 2).digest for number in range(6)}) == 1
        sim.check()
        await sim.finish()

    run_virtual(main())


def test_wrong_mask_within_the_range_of_a_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """No range check sees it, and nobody can say whose it was: the members' votes leave the base as it was."""
    masked = MaskedParts.masked

    def near(base_N: np.ndarray) -> float:
        return 1.0 + abs(float(base_N.mean()))

    async def main() -> None:
        rule = SecureSum(block_elements=64, initial_rms=0.1)
        made = make_charter(6, aggregation=rule, min_contributors=3)
        sim = Simulation(msgspec.structs.replace(made, quality=QualityVotes(tolerance_percent=5.0)), seed=13, rounds=3)
        sim.scores = dict.fromkeys(range(6), near)

        def lying(self: MaskedParts, chunk: int) -> Words:
            found = masked(self, chunk)
            ctx = context(sim, 1)
            is_liar = ctx.reduction is not None and ctx.reduction.delivery is self
            return found + np.uint16(180) if is_liar and ctx.round == 2 else found

        monkeypatch.setattr(MaskedParts, "masked", lying)
        for number in range(6):
            await sim.start(number, jurisdiction="DE" if number < 3 else "JP")
        await sim.until_round(3)
        values = [sim.decided(0, number).value for number in (1, 2, 3)]
        assert [value.is_rejected for value in values] == [False, True, False]
        assert values[1].state_digest == values[0].state_digest and len(values[1].quality) == 6
        for peer in sim.peers.values():
            (said,) = peer.of(events.RoundRejected)
            assert (said.round, said.rejecting) == (2, 6.0)
            assert not peer.of(events.SecureSumEnded), "the range check saw nothing"
        sim.check()
        await sim.finish()

    run_virtual(main())


def test_the_tap_sees_what_leaves() -> None:
    """Without it the other tests of this file would show nothing."""

    async def main() -> None:
        sim = Simulation(make_charter(3), seed=1)
        tap = Tap()
        sim.network.on_frame = tap.on_frame
        for number in range(3):
            await sim.start(number)
        await sim.until_round(2)
        assert {"Part", "ChunkResult"} <= tap.kinds_to(peer_identity(0).peer_id)
        await sim.finish()

    run_virtual(main())
