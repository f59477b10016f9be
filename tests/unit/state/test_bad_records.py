"""Records and newcomers that are not what they should be: each is refused with its reason, and nobody is harmed.

Every record below is offered by a donor that stands further than any honest one. The newcomer goes by the honest
records alone; whoever is no peer of the run gets a reason, and the donor that refused it goes on serving others.
"""

from collections.abc import Callable, Sequence

import msgspec
import pytest

from swarm import events
from swarm.charter import passport as passports
from swarm.charter.passport import PASSPORT_DOMAIN, SignedPassport
from swarm.errors import NetworkError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.calls import Caller
from swarm.net.memory import run_virtual
from swarm.state.records import Record, value_digest
from swarm.state.run import Run
from tests.simulation import CREATED_S, MEMBER_KEYS, peer_identity
from tests.unit.state.crowd import ME, NOW_S, Answer, Crowd, assert_is
from tests.unit.state.samples import (
    MadeRound,
    join_of,
    make_chain,
    passport_of,
    roster_of,
    small_charter,
    vote_for,
)

RUN = Run(small_charter())
CHAIN = make_chain(RUN, 2)
TRUE, NEXT = CHAIN
OTHER_RUN = Run(small_charter(2))
OTHER_CHAIN = make_chain(OTHER_RUN, 2, crew=2)
NO_MEMBER = Identity.from_seed(bytes(range(32)))
GOOD = passports.decode(passport_of(RUN, TRUE.crew[0]))


def record_with(votes: Sequence[wire.Sealed], made: MadeRound = NEXT) -> bytes:
    return wire.encode(Record(made.encoded, tuple(votes)))


def votes_of(crew: Sequence[Identity], made: MadeRound = NEXT) -> list[wire.Sealed]:
    return [wire.seal(one, vote_for(RUN, made.value.round, made.ballot, made.digest)) for one in crew]


def forged() -> bytes:
    """All three have voted, they say; the last one's signature is another statement's."""
    first, second, third = votes_of(NEXT.crew)
    return record_with([first, second, msgspec.structs.replace(third, signature=second.signature)])


def with_passport(signed: SignedPassport) -> bytes:
    """Voted for by everybody, and one of them sits in the roster under this passport."""
    crew = NEXT.crew
    joins = [join_of(RUN, NEXT.before, one, NEXT.ballot, member=number) for number, one in enumerate(crew)]
    joins[0] = msgspec.structs.replace(joins[0], passport=passports.encode(signed))
    leader = next(one for one in crew if one.peer_id == NEXT.ballot.leader)
    sealed = [wire.seal(one, join) for one, join in zip(crew, joins, strict=True)]
    roster = roster_of(RUN, sealed, leader, NEXT.ballot, NEXT.before)
    encoded = wire.encode(msgspec.structs.replace(NEXT.value, roster=roster))
    vote = vote_for(RUN, 2, NEXT.ballot, value_digest(encoded))
    return wire.encode(Record(encoded, tuple(wire.seal(one, vote) for one in crew)))


def signed_by(signer: Identity, **changes: object) -> SignedPassport:
    payload = msgspec.structs.replace(GOOD.payload, **changes)
    signature = signer.sign(PASSPORT_DOMAIN, passports.encode_payload(payload)).hex()
    return SignedPassport(payload=payload, signer=signer.peer_id, signature=signature)


RECORDS: dict[str, tuple[Callable[[], bytes], str]] = {
    "forged signature": (forged, "a signature that is not its author's"),
    "one signature is missing for a quorum": (lambda: record_with(votes_of(NEXT.crew[:1])), "votes of 1 of 3 voices"),
    "no signatures": (lambda: record_with([]), "votes of 0 of 3 voices"),
    "signatures of strangers": (
        lambda: record_with(votes_of([peer_identity(number) for number in (70, 71, 72)])),
        "votes of 0 of 3 voices",
    ),
    "one signature many times": (lambda: record_with(votes_of(NEXT.crew[:1]) * 3), "votes of 1 of 3 voices"),
    "passport revoked: its signer is no member": (
        lambda: with_passport(signed_by(NO_MEMBER)),
        "refused: bad_signature",
    ),
    "passport revoked: the member is not in the charter": (
        lambda: with_passport(signed_by(NO_MEMBER, member="gone")),
        "refused: unknown_member",
    ),
    "passport that was never valid": (
        lambda: with_passport(signed_by(MEMBER_KEYS[0], expires=GOOD.payload.not_before)),
        "refused: expired",
    ),
    "passport of another run": (
        lambda: with_passport(signed_by(MEMBER_KEYS[0], run_id=OTHER_RUN.id)),
        "refused: wrong_run",
    ),
    "replayed old record": (lambda: TRUE.record, "wanted round 2, got 1"),
    "another run's record": (lambda: OTHER_CHAIN[1].record, "a value of another run"),
    "torn record": (lambda: NEXT.record[:-3], "bad frame"),
}


def offering(record: bytes) -> Answer:
    """Stands at round 2, it says, and has this to show for it."""

    async def answer(stream: AuditedStream, request: wire.Request) -> bool:
        match request:
            case wire.GetStatus():
                await stream.send(wire.Status(2, bytes(32), 0, ""))
            case wire.GetRecords(first):
                for known in (TRUE.record, record)[first - 1 :]:
                    await stream.send(wire.RecordIs(known))
                await stream.send(wire.Missing())
            case _:
                return False
        return True

    return answer


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_no_quorum_of_the_run_signed_is_refused_with_the_reason(name: str) -> None:
    make, reason = RECORDS[name]

    async def main() -> None:
        crowd = Crowd(RUN, CHAIN[:1])
        donors = [await crowd.add(50, offering(make())), await crowd.add(51)]
        caught = await crowd.catch_up(donors)
        assert_is(caught.head, TRUE.after)
        notes = [event.text for event in crowd.seen if isinstance(event, events.Note)]
        assert any(reason in note and donors[0] in note for note in notes), notes
        assert crowd.store.load_record(2) is None
        later = await crowd.catch_up(donors, caught.head)  # and for one that stands on round 1 already
        assert later.head.round == 1

    run_virtual(main())


def test_the_same_offer_with_the_true_record_is_taken() -> None:
    """The records above are refused for what is wrong with them, and for nothing else."""

    async def main() -> None:
        crowd = Crowd(RUN, CHAIN)
        caught = await crowd.catch_up([await crowd.add(50, offering(NEXT.record))])
        assert_is(caught.head, NEXT.after)

    run_virtual(main())


def other_charter(crowd: Crowd) -> Caller:
    """Everything of another run: hello, passport, charter."""
    return crowd.caller(run=OTHER_RUN)


def other_model(crowd: Crowd) -> Caller:
    """The same run by name, with another model configuration in its charter: that is another run."""
    charter = msgspec.structs.replace(
        RUN.charter, model=msgspec.structs.replace(RUN.charter.model, schema_digest="b" * 64)
    )
    return crowd.caller(run=Run(charter))


def foreign_passport(crowd: Crowd) -> Caller:
    """Says it is of this run; its passport is not."""
    return Caller(crowd.audited(ME), wire.Hello(RUN.id, passport_of(OTHER_RUN, ME)))


def expired_passport(crowd: Crowd) -> Caller:
    return crowd.caller(expires_s=NOW_S - 1)


def revoked_passport(crowd: Crowd) -> Caller:
    """Signed by somebody whom the charter does not name."""
    payload = msgspec.structs.replace(GOOD.payload, peer_id=ME.peer_id)
    signature = NO_MEMBER.sign(PASSPORT_DOMAIN, passports.encode_payload(payload)).hex()
    signed = SignedPassport(payload=payload, signer=NO_MEMBER.peer_id, signature=signature)
    return Caller(crowd.audited(ME), wire.Hello(RUN.id, passports.encode(signed)))


def anothers_passport(crowd: Crowd) -> Caller:
    return Caller(crowd.audited(ME), wire.Hello(RUN.id, passport_of(RUN, peer_identity(41))))


NEWCOMERS: dict[str, tuple[Callable[[Crowd], Caller], str]] = {
    "another charter": (other_charter, "another run"),
    "another model config": (other_model, "another run"),
    "a passport of another run": (foreign_passport, "wrong_run"),
    "an expired passport": (expired_passport, "expired"),
    "a passport whose signer is no member": (revoked_passport, "bad_signature"),
    "another peer's passport": (anothers_passport, "wrong_peer"),
}


@pytest.mark.parametrize("name", NEWCOMERS)
def test_a_newcomer_that_is_not_of_the_run_is_told_why_and_the_donors_go_on(name: str) -> None:
    caller_of, reason = NEWCOMERS[name]

    async def main() -> None:
        crowd = Crowd(RUN, CHAIN)
        donors = [await crowd.add(50), await crowd.add(51)]
        with pytest.raises(NetworkError, match=reason):
            await crowd.catch_up(donors, caller=caller_of(crowd))
        assert crowd.store.snapshots() == []
        refused = [event for event in crowd.refused if isinstance(event, events.FrameRefused)]
        assert refused and all(event.peer == ME.peer_id and reason in event.reason for event in refused)
        caught = await crowd.catch_up(donors, caller=crowd.caller(peer_identity(42)))
        assert_is(caught.head, NEXT.after)
        assert crowd.network.errors == []

    run_virtual(main())


def test_donors_of_another_run_are_not_believed() -> None:
    """A swarm of another charter under the addresses that were given: nothing of it is taken."""

    async def main() -> None:
        crowd = Crowd(RUN, CHAIN)
        strangers: list[PeerId] = [
            await crowd.add(50 + number, run=OTHER_RUN, chain=OTHER_CHAIN) for number in range(2)
        ]
        with pytest.raises(NetworkError, match="another run"):
            await crowd.catch_up(strangers)
        caught = await crowd.catch_up([*strangers, await crowd.add(60)])
        assert_is(caught.head, NEXT.after)

    run_virtual(main())


def test_the_times_of_this_file_are_what_they_seem() -> None:
    assert GOOD.payload.not_before < CREATED_S + 1 <= NOW_S < GOOD.payload.expires
