"""Sealed joins, rosters, records and whole chains of rounds, made by hand the slow obvious way."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import msgspec
import numpy as np

from swarm.charter import passport as passports
from swarm.charter.epochs import followed
from swarm.charter.manifest import Charter
from swarm.charter.passport import issue
from swarm.identity.key import Identity
from swarm.net import wire
from swarm.state.head import Head, apply_results
from swarm.state.records import Record, Value, value_digest, verify_record
from swarm.state.resume import state_zero
from swarm.state.roster import Roster, read_roster, result_digest
from swarm.state.run import Run
from swarm.state.store import Store
from swarm.vector.recycle import Recycler
from tests.simulation import CREATED_S, MEMBER_KEYS, base_zero, make_charter, peer_identity

ELEMENTS = 700
CHUNK_ELEMENTS = 256
STRANGER = peer_identity(77)


def small_charter(genesis: int = 3, *, witnesses: int = 0) -> Charter:
    """Three chunks, the last one shorter."""
    keys = tuple(peer_identity(90 + number).peer_id for number in range(witnesses))
    return make_charter(genesis, elements=ELEMENTS, chunk_elements=CHUNK_ELEMENTS, witnesses=keys)


def zero_head(run: Run) -> Head:
    head = state_zero(run, base_zero(run.charter.model.parameters))
    assert head is not None
    return head


def passport_of(run: Run, identity: Identity, *, member: int = 0, jurisdiction: str = "DE") -> bytes:
    key = MEMBER_KEYS[member]
    signed = issue(key, run.charter, identity.peer_id, jurisdiction, CREATED_S + 10**7, CREATED_S, run=run.id)
    return passports.encode(signed)


def ballot_led_by(identity: Identity, attempt: int = 1) -> wire.Ballot:
    return wire.Ballot(attempt, identity.peer_id)


def join_of(run: Run, head: Head, identity: Identity, ballot: wire.Ballot, *, member: int = 0) -> wire.Join:
    return wire.Join(
        run_id=run.id,
        round=head.round + 1,
        ballot=ballot,
        base_digest=head.state_digest,
        passport=passport_of(run, identity, member=member),
        contributes=True,
        dialable=True,
        tokens=1000,
        up_bps=0,
        down_bps=0,
        accepted=None,
        rules=run.rules.in_force,
    )


def roster_of(run: Run, joins: Sequence[wire.Sealed], leader: Identity, ballot: wire.Ballot, head: Head) -> wire.Sealed:
    return wire.seal(leader, wire.Roster(run.id, head.round + 1, ballot, tuple(joins), run.rules.in_force))


def sealed_roster(run: Run, head: Head, crew: Sequence[Identity], ballot: wire.Ballot) -> wire.Sealed:
    """A good roster of a crew, each peer of a member of its own; the ballot's leader is one of them."""
    joins = [wire.seal(one, join_of(run, head, one, ballot, member=n)) for n, one in enumerate(crew)]
    leader = next(one for one in crew if one.peer_id == ballot.leader)
    return roster_of(run, joins, leader, ballot, head)


@dataclass(frozen=True)
class MadeRound:
    """One committed round, with everything that led to it."""

    before: Head
    crew: tuple[Identity, ...]
    ballot: wire.Ballot
    roster: Roster
    value: Value
    encoded: bytes
    results: tuple[bytes, ...]
    record: bytes
    after: Head

    @property
    def digest(self) -> bytes:
        return value_digest(self.encoded)


def vote_of(run: Run, identity: Identity, made: wire.Vote) -> wire.Sealed:
    return wire.seal(identity, made)


def vote_for(run: Run, round_number: int, ballot: wire.Ballot, digest: bytes) -> wire.Vote:
    return wire.Vote(run.id, round_number, ballot, digest)


def ballot_of(run: Run, head: Head, crew: Sequence[Identity]) -> wire.Ballot:
    """The first ballot of the round after `head` that one of the crew leads."""
    ballots = (head.electorate.ballot(run.id, head.round + 1, attempt) for attempt in count(1))
    return next(ballot for ballot in ballots if ballot.leader in {one.peer_id for one in crew})


async def make_round(
    run: Run, head: Head, crew: Sequence[Identity], *, seed: int = 0, documents: tuple[bytes, ...] = ()
) -> MadeRound:
    """A round that a crew commits with a random mean; every member of the crew votes.

    `run` is under the rules after the record before; `documents` come into force with this one.
    """
    before, run = run, run.under(followed(run.rules, documents, head.round + 1))
    ballot = ballot_of(run, head, crew)
    sealed = sealed_roster(run, head, crew, ballot)
    roster = read_roster(sealed, run, head.state_digest)
    mean_N = np.random.default_rng(seed).standard_normal(run.grid.elements).astype(np.float32)
    results = tuple(run.codec.encode(mean_N[run.grid.bounds(chunk)]) for chunk in range(run.grid.chunks))
    everyone = roster.bitmap(set(range(len(crew))))
    successor = await apply_results(run, head, results, Recycler())
    value = Value(
        run_id=run.id,
        epoch=run.rules.epoch,
        round=head.round + 1,
        previous=head.record_digest,
        base_digest=head.state_digest,
        roster=sealed,
        weights=roster.weights,
        chunk_digests=tuple(result_digest(everyone, data) for data in results),
        contributors=(everyone,) * run.grid.chunks,
        state_digest=successor.state_digest,
        documents=documents,
        amended_in=before.rules.since,
    )
    encoded = wire.encode(value)
    vote = vote_for(run, value.round, ballot, value_digest(encoded))
    record = wire.encode(Record(encoded, tuple(wire.seal(one, vote) for one in crew), head.electorate.restarts))
    decided = verify_record(
        record,
        before,
        head.electorate,
        round_number=value.round,
        previous=head.record_digest,
        base_digest=head.state_digest,
    )
    after = successor.committed(run, decided)
    return MadeRound(head, tuple(crew), ballot, roster, value, encoded, results, record, after)


def make_chain(run: Run, rounds: int, *, crew: int = 3) -> list[MadeRound]:
    """Rounds 1 to `rounds`, committed one on the other by the genesis peers."""

    async def main() -> list[MadeRound]:
        made: list[MadeRound] = []
        head = zero_head(run)
        for number in range(rounds):
            made.append(await make_round(run, head, [peer_identity(n) for n in range(crew)], seed=number))
            head = made[-1].after
        return made

    return asyncio.run(main())


async def keep(store: Store, made: MadeRound, *, snapshot: bool = True) -> None:
    """What a peer that took part in a round has on disk after it."""
    await store.save_results(made.value.round, made.digest, made.results)
    await store.save_record(made.value.round, made.record)
    if snapshot:
        await store.save_snapshot(made.after.round, (made.after.base_N, *made.after.outer_VN))


def altered(frame: wire.Frame, field: str, value: object) -> bytes:
    """A frame with one field changed, encoded."""
    return wire.encode(msgspec.structs.replace(frame, **{field: value}))
