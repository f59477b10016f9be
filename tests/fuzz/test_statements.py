"""Statements that an admitted peer signed over anything at all: each reader takes them or raises ProtocolError."""

import asyncio

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.node.announcements import MAX_CLOCK_SKEW_S, read_announcement
from swarm.round.acceptor import Acceptor, AcceptorState
from swarm.round.witness import Witness
from swarm.state.chain import Chain
from swarm.state.records import Record, Value, value_digest, verify_record
from swarm.state.roster import read_join, read_roster
from swarm.state.run import Run
from swarm.state.store import MemoryStore
from tests.fuzz.frames import of
from tests.simulation import CREATED_S, peer_identity
from tests.unit.state.samples import ballot_led_by, join_of, make_chain, passport_of, small_charter, zero_head

RUN = Run(small_charter())
HEAD = zero_head(RUN)
(MADE,) = make_chain(RUN, 1)
ROGUE = peer_identity(5)
BALLOT = ballot_led_by(ROGUE)
GOOD_JOIN = join_of(RUN, HEAD, ROGUE, BALLOT, member=5)
GOOD_ENTRY = wire.Announcement(
    run_id=RUN.id,
    peer=ROGUE.peer_id,
    region="eu",
    passport=passport_of(RUN, ROGUE, member=5),
    addresses=(),
    round=1,
    tokens=0,
    tokens_per_s=0.0,
    phase="ready",
    at=CREATED_S + 1000.0,
    dialable=True,
    relays=(),
)
quick = settings(max_examples=60, deadline=None)


def mixed(good: wire.Frame) -> st.SearchStrategy[wire.Frame]:
    """A good statement in which any of the fields may be anything."""

    @st.composite
    def build(draw: st.DrawFn) -> wire.Frame:
        strange = draw(of(type(good)))
        names = draw(st.sets(st.sampled_from(good.__struct_fields__), max_size=3))
        return msgspec.structs.replace(good, **{name: getattr(strange, name) for name in names})

    return build()


@quick
@given(join=mixed(GOOD_JOIN))
def test_joins(join: wire.Join) -> None:
    sealed = wire.seal(ROGUE, join)
    try:
        _, seat = read_join(sealed, RUN)
    except ProtocolError:
        return
    assert seat.peer == ROGUE.peer_id and 0 <= seat.tokens <= wire.MAX_ROUND


@quick
@given(
    roster=mixed(wire.Roster(RUN.id, 1, BALLOT, (wire.seal(ROGUE, GOOD_JOIN),))),
    joins=st.lists(mixed(GOOD_JOIN), max_size=2),
)
def test_rosters(roster: wire.Roster, joins: list[wire.Join]) -> None:
    more = msgspec.structs.replace(roster, joins=(*roster.joins, *(wire.seal(ROGUE, join) for join in joins)))
    for one in (roster, more):
        try:
            read = read_roster(wire.seal(ROGUE, one), RUN, HEAD.state_digest)
        except ProtocolError:
            continue
        assert len(read.weights) == len(read.seats) == len(set(read.peers)) and min(read.weights) >= 1


@quick
@given(value=mixed(MADE.value))
def test_values_that_everybody_voted_for(value: Value) -> None:
    encoded = wire.encode(value)
    vote = wire.Vote(RUN.id, 1, MADE.ballot, value_digest(encoded))
    record = wire.encode(Record(encoded, tuple(wire.seal(one, vote) for one in MADE.crew)))
    try:
        decided = verify_record(
            record,
            RUN,
            HEAD.electorate,
            round_number=1,
            previous=b"",
            base_digest=HEAD.state_digest,
        )
    except ProtocolError:
        return
    assert (decided.value.round, decided.value.base_digest) == (1, HEAD.state_digest)


@quick
@given(value=mixed(MADE.value), proposal=of(wire.Proposal), votes=st.lists(of(wire.Vote), max_size=2))
def test_questions_to_a_witness(value: Value, proposal: wire.Proposal, votes: list[wire.Vote]) -> None:
    encoded = wire.encode(value)
    bound = msgspec.structs.replace(
        proposal, ballot=BALLOT, run_id=RUN.id, round=value.round, value_digest=value_digest(encoded)
    )

    async def main() -> None:
        store = MemoryStore()
        witness = Witness(RUN, peer_identity(90), Acceptor(store), Chain(RUN, store))
        for one in (proposal, bound):
            question = wire.AskVote(wire.seal(ROGUE, one), encoded, tuple(wire.seal(ROGUE, vote) for vote in votes))
            try:
                answer = await witness.vote(question, ROGUE.peer_id)
            except ProtocolError:
                continue
            assert isinstance(answer, wire.Refusal | wire.NeedRecords)
        assert witness.acceptor.state == AcceptorState(0)

    asyncio.run(main())


@quick
@given(entry=mixed(GOOD_ENTRY) | of(wire.Announcement), at=st.floats(), now_s=st.floats(0, 4e9))
def test_announcements(entry: wire.Announcement, at: float, now_s: float) -> None:
    entry = msgspec.structs.replace(entry, at=at)
    read = read_announcement(wire.encode_sealed(wire.seal(ROGUE, entry)), RUN, now_s)
    if read is not None:
        assert abs(now_s - read.at) <= MAX_CLOCK_SKEW_S and 0 <= read.round <= wire.MAX_ROUND
        assert read.peer == ROGUE.peer_id and read.run_id == RUN.id


def test_a_good_announcement_is_read_and_one_under_another_name_is_not() -> None:
    now_s = CREATED_S + 1000.0
    sealed = wire.seal(ROGUE, GOOD_ENTRY)
    assert read_announcement(wire.encode_sealed(sealed), RUN, now_s) == GOOD_ENTRY
    other = peer_identity(6)
    for stolen in (
        wire.seal(other, GOOD_ENTRY),
        wire.seal(other, msgspec.structs.replace(GOOD_ENTRY, peer=other.peer_id)),
        msgspec.structs.replace(sealed, author=PeerId(other.peer_id)),
    ):
        assert read_announcement(wire.encode_sealed(stolen), RUN, now_s) is None


def _entry_with(field: str, value: object) -> wire.Announcement | None:
    entry = msgspec.structs.replace(GOOD_ENTRY, **{field: value})
    return read_announcement(wire.encode_sealed(wire.seal(ROGUE, entry)), RUN, CREATED_S + 1000.0)


def test_numbers_in_an_announcement_that_cannot_be_are_refused() -> None:
    nan, infinity = float("nan"), float("inf")
    bent = [("at", nan), ("at", infinity), ("at", -1.0), ("round", -1), ("round", 2**62), ("tokens", -1)]
    bent += [("tokens", 2**62), ("tokens_per_s", nan), ("tokens_per_s", infinity), ("tokens_per_s", -1.0)]
    assert [one for one in bent if _entry_with(*one) is not None] == []
