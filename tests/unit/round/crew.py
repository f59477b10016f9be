"""A round reduced by hand, the slow obvious way: real plans, piles and deliveries, and no network between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.round.delivery import Contribution, Delivery
from swarm.round.outcome import Offer
from swarm.round.piles import Piles
from swarm.round.plan import Group, Plan
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.labels import Label
from swarm.sovereignty.permit import Permit
from swarm.state.records import Decided, Value
from swarm.state.roster import Roster, Seat, result_digest
from swarm.state.run import Run
from tests.unit.state.samples import small_charter

RUN = Run(small_charter())
BALLOT = wire.Ballot(1, PeerId("p0"))
LENGTHS = [RUN.grid.length(chunk) for chunk in range(RUN.grid.chunks)]


def permit() -> Permit:
    """Some permit: nothing is sent here."""
    gate = Gate(region="eu", label=Label.OPEN, min_contributors=1)
    found = gate.check_aggregate(members=1, recipient=PeerId("p0"), recipient_region="eu")
    assert isinstance(found, Permit)
    return found


def roster_of(weights: Sequence[int], regions: Sequence[str] = (), *, number: int = 1, attempt: int = 1) -> Roster:
    """A roster of `len(weights)` members, all in one region unless `regions` says where each is."""
    where = regions or ("eu",) * len(weights)
    seats = tuple(Seat(PeerId(f"p{n}"), f"m{n}", where[n], True, True, 0) for n in range(len(weights)))
    return Roster(number, wire.Ballot(attempt, PeerId("p0")), seats, tuple(weights))


def updates_of(seed: int, peers: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.standard_normal(RUN.grid.elements).astype(np.float32) for _ in range(peers)]


def offer(x_N: np.ndarray, *ballots: wire.Ballot) -> Offer:
    """What a peer brings; what it does not deliver must be written over what its scratch memory holds here."""
    return Offer(x_N.copy(), np.full_like(x_N, np.nan), 1, ballots=set(ballots or (BALLOT,)))


@dataclass
class HandReduction:
    """What `settle` looks at of a reduction."""

    roster: Roster
    plan: Plan
    seat: int
    delivery: Delivery


def begin(roster: Roster, offers: Sequence[Offer], levels: int = 2) -> list[HandReduction]:
    plan = Plan(roster, RUN.grid.chunks, levels)
    leave = permit()
    return [
        HandReduction(roster, plan, seat, Delivery(RUN, Contribution(given.x_N, given.lost_N, leave)))
        for seat, given in enumerate(offers)
    ]


def reduce_by_hand(
    offers: Sequence[Offer], counted: Sequence[Sequence[int]], roster: Roster, levels: int = 2
) -> tuple[Decided, list[HandReduction], np.ndarray]:
    """Every chunk averaged along the plan over the seats in `counted[chunk]`; the mean applied, float32 [N]."""
    members = begin(roster, offers, levels)
    plan = members[0].plan
    results: list[wire.ChunkResult] = []
    for chunk, seats in enumerate(counted):
        owner = plan.owner(plan.root, chunk, set())
        assert owner is not None
        piles = Piles(RUN, roster)
        for group in plan.root.children or (plan.root,):
            if owner in group.seats:
                _gather(piles, members, group, owner, chunk, seats)
            else:
                _pass_on(piles, members, group, chunk, seats)
        bitmap, data = _quantise(piles, members[owner], chunk)
        digest = result_digest(bitmap, data)
        if owner in seats:
            members[owner].delivery.made(chunk, digest)
        results.append(wire.ChunkResult(chunk, bitmap, memoryview(data)))
    decided = decided_on(results, roster)
    applied_N = np.concatenate([RUN.codec.decode(made.data, RUN.grid.length(made.chunk)) for made in results])
    return decided, members, applied_N


def decided_on(results: Sequence[wire.ChunkResult], roster: Roster) -> Decided:
    value = Value(
        run_id=RUN.id,
        epoch=0,
        round=roster.round,
        previous=b"",
        base_digest=b"",
        roster=wire.Sealed(PeerId("p0"), b"", b""),
        weights=roster.weights,
        chunk_digests=tuple(result_digest(result.contributors, result.data) for result in results),
        contributors=tuple(result.contributors for result in results),
        state_digest=b"",
    )
    return Decided(b"", b"", value, roster)


def _gather(
    piles: Piles, members: Sequence[HandReduction], group: Group, owner: int, chunk: int, counted: Sequence[int]
) -> None:
    for seat in sorted(group.seats.intersection(counted)):
        delivery = members[seat].delivery
        if seat == owner:
            assert delivery.contribution is not None
            piles.add_own(chunk, seat, delivery.contribution.x_N[RUN.grid.bounds(chunk)])
        else:
            piles.add(chunk, {seat}, delivery.encode_part(chunk))


def _pass_on(above: Piles, members: Sequence[HandReduction], group: Group, chunk: int, counted: Sequence[int]) -> None:
    """The sum of another group, made by its own owner."""
    owner = members[0].plan.owner(group, chunk, set())
    if owner is None or not group.seats.intersection(counted):
        return
    piles = Piles(RUN, members[owner].roster)
    _gather(piles, members, group, owner, chunk, counted)
    bitmap, data = _quantise(piles, members[owner], chunk)
    if owner in counted:
        members[owner].delivery.made(chunk, bitmap)
    above.add(chunk, set(members[owner].roster.contributors(bitmap)), data)


def _quantise(piles: Piles, owner: HandReduction, chunk: int) -> tuple[bytes, bytes]:
    seats, weight, mean_n = piles.take(chunk)
    if owner.seat in seats:
        data = owner.delivery.encode_mean(chunk, mean_n, weight, owner.roster.weights[owner.seat])
    else:
        data = RUN.codec.encode(mean_n)
    return owner.roster.bitmap(seats), data
