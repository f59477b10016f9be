"""A chain without state: it grows by the next good record, and by nothing else, and it is there after a restart."""

import asyncio

import pytest

from swarm.errors import ProtocolError
from swarm.net import wire
from swarm.state.chain import Chain, Mark
from swarm.state.records import Record, round_of
from swarm.state.run import Run
from swarm.state.store import MemoryStore
from tests.unit.state.samples import make_chain, small_charter

RUN = Run(small_charter())
MADE = make_chain(RUN, 3)


def stands_at(chain: Chain, number: int) -> None:
    head = MADE[number - 1].after if number else MADE[0].before
    assert chain.mark == Mark(number, head.record_digest, head.electorate, head.state_digest, head.rules)


def test_it_advances_record_by_record_and_passes_over_other_rounds() -> None:
    async def main() -> None:
        chain = Chain(RUN, MemoryStore())
        stands_at(chain, 0)
        await chain.advance(MADE[1].record)
        stands_at(chain, 0)
        for number, made in enumerate(MADE, 1):
            await chain.advance(made.record)
            await chain.advance(MADE[0].record)
            stands_at(chain, number)
        assert [chain.record(number) for number in range(5)] == [None, *(made.record for made in MADE), None]

    asyncio.run(main())


def test_a_record_that_no_quorum_signed_is_refused() -> None:
    async def main() -> None:
        chain = Chain(RUN, MemoryStore())
        for bad in (wire.encode(Record(MADE[0].encoded, ())), b"", b"\xc1"):
            with pytest.raises(ProtocolError):
                await chain.advance(bad)
        stands_at(chain, 0)
        assert chain.record(1) is None

    asyncio.run(main())


def test_it_reads_its_own_records_forward_as_far_as_they_verify() -> None:
    async def main() -> None:
        store = MemoryStore()
        for made in MADE:
            await store.save_record(made.value.round, made.record)
        stands_at(Chain(RUN, store), 3)
        await store.save_record(2, MADE[1].record[:-1])
        damaged = Chain(RUN, store)
        stands_at(damaged, 1)
        assert damaged.record(3) is None
        await damaged.advance(MADE[1].record)
        stands_at(damaged, 2)

    asyncio.run(main())


def test_the_round_a_record_says_it_is_of() -> None:
    assert [round_of(made.record) for made in MADE] == [1, 2, 3]
