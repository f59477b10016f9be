"""Restarts on a chain: which record they follow, which term wins, and that the records after them verify alone."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from swarm.charter.manifest import Admission, Quorum
from swarm.charter.restart import Restart, SignedRestart, encode, sign_restart
from swarm.errors import ProtocolError
from swarm.net import wire
from swarm.state.chain import Chain, Mark, kept_mark
from swarm.state.electorate import Electorate
from swarm.state.records import Record
from swarm.state.run import Run
from swarm.state.store import MemoryStore
from tests.simulation import MEMBER_KEYS, peer_identity
from tests.unit.state.samples import MadeRound, make_chain, make_round, small_charter

RUN = Run(small_charter())
CHAIN = make_chain(RUN, 2)
CREW = (peer_identity(1), peer_identity(5))
"""One of the old electorate and a stranger to it."""


def document(mark: Mark, *, term: int = 1, record: bytes | None = None, run: Run = RUN) -> bytes:
    payload = Restart(
        run_id=run.id,
        term=term,
        round=mark.round,
        record=(mark.digest if record is None else record).hex(),
        peers=tuple(one.peer_id for one in CREW),
    )
    return encode(sign_restart(SignedRestart(restart=payload), run.charter, MEMBER_KEYS[0]))


def after_restart(made: MadeRound, *, term: int = 1) -> MadeRound:
    """The next round, by the crew that the founders named."""
    mark = made.after.mark.restarted(RUN, (document(made.after.mark, term=term),))
    head = replace(made.after, electorate=mark.electorate)
    return asyncio.run(make_round(RUN, head, CREW, seed=9))


def carrying(made: MadeRound, *documents: bytes) -> bytes:
    record = wire.decode(made.record, Record)
    return wire.encode(msgspec.structs.replace(record, restarts=documents))


MARK = CHAIN[-1].after.mark
NEXT = after_restart(CHAIN[-1])
INSTEAD = after_restart(CHAIN[0])


def test_a_record_carries_its_restart_and_needs_it() -> None:
    decided = MARK.verify(RUN, carrying(NEXT, document(MARK)))
    after = Mark.after(RUN, decided)
    assert (after.electorate.term, after.electorate.peers) == (1, {one.peer_id for one in CREW})
    assert after.electorate.restarts == () and after.electorate.replaced is None
    for documents in ((), (document(MARK, term=2),), (document(CHAIN[0].after.mark),)):
        with pytest.raises(ProtocolError):
            MARK.verify(RUN, carrying(NEXT, *documents))


def test_a_record_of_the_old_term_is_refused_once_the_founders_have_restarted() -> None:
    old = asyncio.run(make_round(RUN, CHAIN[-1].after, CHAIN[-1].crew))
    assert MARK.verify(RUN, old.record).digest == old.digest
    restarted = MARK.restarted(RUN, (document(MARK),))
    with pytest.raises(ProtocolError, match="which the founders' restart of term 1 has ended"):
        restarted.verify(RUN, old.record)


def test_terms_only_rise_and_each_has_one_restart() -> None:
    first = MARK.restarted(RUN, (document(MARK, term=2),))
    with pytest.raises(ProtocolError, match="term 1, and term 2 is in force"):
        first.restarted(RUN, (document(MARK, term=1),))
    second = first.restarted(RUN, (document(MARK, term=2), document(MARK, term=3)))
    assert [second.electorate.of_term(term) is None for term in range(4)] == [False, True, False, False]
    with pytest.raises(ProtocolError, match="unknown record"):
        MARK.restarted(RUN, (document(MARK, record=bytes(32)),))
    with pytest.raises(ProtocolError, match="order of their terms"):
        MARK.restarted(RUN, (document(MARK, term=2), document(MARK, term=1)))


def test_a_witness_follows_founders_back_and_keeps_the_chain_on_disk() -> None:
    async def main() -> None:
        store = MemoryStore()
        chain = Chain(RUN, store)
        for made in CHAIN:
            await chain.advance(made.record)
        first = CHAIN[0].after.mark
        back_to: list[Mark] = []

        async def going_back(mark: Mark) -> None:
            assert store.load_record(2) is not None, "before anything is set aside"
            back_to.append(mark)

        await chain.restart((document(first),), going_back)
        assert (chain.mark.round, chain.mark.electorate.term) == (1, 1)
        assert store.load_record(2) is None
        await chain.restart((document(first),), going_back)  # known already
        assert back_to == [first.restarted(RUN, (document(first),))]
        with pytest.raises(ProtocolError, match="a second restart of term 1"):
            await chain.restart((document(Mark.genesis(RUN)),), going_back)
        assert Chain(RUN, store).mark == chain.mark, "also after a crash"
        await chain.advance(INSTEAD.record)
        assert chain.mark.round == 2 and Chain(RUN, store).mark == chain.mark
        assert kept_mark(RUN, store.load_record, 2) == chain.mark
        assert kept_mark(RUN, store.load_record, 3) is None

    asyncio.run(main())


def test_where_whoever_is_there_may_go_on_more_than_half_of_those_decide() -> None:
    charter = msgspec.structs.replace(
        small_charter(), quorum=Quorum(kind="available"), admission=Admission(kind="open")
    )
    run = Run(charter)
    assert not Electorate.genesis(run).may_thin, "a run begins together"
    peers = frozenset(peer_identity(number).peer_id for number in range(5))
    a, b, c, d, e = sorted(peers)
    thin, strict = Electorate(peers, frozenset(), may_thin=True), Electorate(peers, frozenset())
    assert thin.may_close({a}) and not strict.may_close({a, b})
    assert not thin.may_close({peer_identity(9).peer_id}), "somebody of the last round must be in it"
    assert thin.decides({a, b}, {a, b}) and not thin.decides({a}, {a, b})
    assert thin.decides({a}, {a, peer_identity(9).peer_id}), "newcomers do not count"
    assert not thin.decides({a, b}, {a, b, c}) and thin.decides({a, b, c}, {a, b, c, d, e}), "a majority where it is"
    assert not strict.decides({a, b}, {a, b})
