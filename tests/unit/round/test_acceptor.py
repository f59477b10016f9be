"""The durable acceptor: no crash, full disk or cancellation makes it break a promise or forget a vote it cast."""

import asyncio
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.errors import StateError
from swarm.identity.peer_id import PeerId
from swarm.net.memory import run_virtual
from swarm.net.wire import Ballot
from swarm.round.acceptor import Acceptor
from swarm.state.store import MemoryStore

Fate = Literal["written", "lost", "written but reported lost"]
WRITE_S = 1.0
LEADER = PeerId("leader")


class SlowStore(MemoryStore):
    """Takes a second for each write, and fails as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.fate: Fate = "written"
        self.writes_begun = 0

    async def save_acceptor(self, data: bytes) -> None:
        self.writes_begun += 1
        fate = self.fate
        await asyncio.sleep(WRITE_S)
        if fate != "lost":
            await super().save_acceptor(data)
        if fate != "written":
            raise StateError("the disk is full")


def ballot(attempt: int) -> Ballot:
    return Ballot(attempt, LEADER)


def test_a_promise_that_was_cancelled_while_it_was_written_still_binds() -> None:
    async def main() -> None:
        store = SlowStore()
        acceptor = Acceptor(store)
        giving_up = asyncio.create_task(acceptor.promise(1, ballot(3)))
        await asyncio.sleep(WRITE_S / 2)
        giving_up.cancel()
        assert not await acceptor.accept(1, ballot(2), b"lower")
        assert Acceptor(store).promised_in(1) == ballot(3)

    run_virtual(main())


def test_a_vote_that_was_cancelled_while_it_was_written_is_remembered() -> None:
    async def main() -> None:
        store = SlowStore()
        acceptor = Acceptor(store)
        giving_up = asyncio.create_task(acceptor.accept(1, ballot(1), b"value"))
        await asyncio.sleep(WRITE_S / 2)
        giving_up.cancel()
        assert await acceptor.promise(1, ballot(2))
        for one in (acceptor, Acceptor(store)):
            vote = one.accepted_in(1)
            assert vote is not None and vote.value == b"value"

    run_virtual(main())


def test_a_promise_is_durable_before_anyone_hears_of_it() -> None:
    async def main() -> None:
        store = SlowStore()
        acceptor = Acceptor(store)
        heard = asyncio.create_task(acceptor.promise(1, ballot(1)))
        await asyncio.sleep(WRITE_S / 2)
        assert not heard.done() and acceptor.promised_in(1) is None
        assert await heard
        assert Acceptor(store).promised_in(1) == ballot(1)

    run_virtual(main())


def test_a_write_that_fails_is_no_promise() -> None:
    async def main() -> None:
        store = SlowStore()
        acceptor = Acceptor(store)
        store.fate = "lost"
        with pytest.raises(StateError, match="full"):
            await acceptor.promise(1, ballot(3))
        store.fate = "written"
        assert acceptor.promised_in(1) is None
        assert await acceptor.accept(1, ballot(2), b"value")

    run_virtual(main())


def test_repeating_a_promise_writes_nothing() -> None:
    async def main() -> None:
        store = SlowStore()
        acceptor = Acceptor(store)
        assert await acceptor.promise(1, ballot(1)) and await acceptor.promise(1, ballot(1))
        assert store.writes_begun == 1

    run_virtual(main())


def test_one_ballot_carries_one_value() -> None:
    async def main() -> None:
        acceptor = Acceptor(MemoryStore())
        assert await acceptor.accept(1, ballot(1), b"one")
        assert not await acceptor.accept(1, ballot(1), b"two")
        assert await acceptor.accept(1, ballot(1), b"one")

    run_virtual(main())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x81\xa5round\xc0",
        b"\x82\xa5round\x01\xa8promised\x07",
        b"\x82\xa5round\x01\xa1\xff\x01",
    ],
)
def test_damaged_votes_are_never_ignored(data: bytes) -> None:
    store = MemoryStore()
    run_virtual(store.save_acceptor(data))
    with pytest.raises(StateError, match="record of votes"):
        Acceptor(store)


@dataclass(frozen=True)
class Step:
    kind: Literal["promise", "accept"]
    round: int
    attempt: int
    value: bytes
    fate: Fate
    cancelled: bool
    crash: bool


steps = st.builds(
    Step,
    kind=st.sampled_from(("promise", "accept")),
    round=st.sampled_from((1, 1, 1, 2, 2, 3)),
    attempt=st.integers(1, 4),
    value=st.sampled_from((b"x", b"y")),
    fate=st.sampled_from(("written", "written", "lost", "written but reported lost")),
    cancelled=st.booleans(),
    crash=st.booleans(),
)


@settings(deadline=None, max_examples=120)
@given(script=st.lists(steps, max_size=12))
def test_what_was_said_binds_whatever_fails(script: list[Step]) -> None:
    async def main() -> None:
        store = SlowStore()
        acceptor = Acceptor(store)
        said: list[tuple[int, Ballot]] = []
        voted: dict[tuple[int, Ballot], bytes] = {}
        for step in script:
            store.fate = step.fate
            key = (step.round, ballot(step.attempt))
            change = acceptor.promise(*key) if step.kind == "promise" else acceptor.accept(*key, step.value)
            task = asyncio.create_task(change)
            if step.cancelled:
                await asyncio.sleep(WRITE_S / 2)
                task.cancel()
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            if outcome is True:
                assert all(key >= earlier for earlier in said if earlier[0] == key[0]), "a lower ballot was let through"
                assert all(key[0] >= earlier[0] - 1 for earlier in said), "an old round was opened again"
                said.append(key)
                if step.kind == "accept":
                    assert voted.setdefault(key, step.value) == step.value, "two votes in one ballot"
            if step.crash:
                await asyncio.sleep(2 * WRITE_S)  # the process ends after its last write, or the write is lost with it
                acceptor = Acceptor(store)
            for round_number in {voted_round for voted_round, _ in voted}:
                kept = acceptor.accepted_in(round_number)
                if kept is None:
                    assert acceptor.state.round > round_number + 1, "a vote was forgotten"
                else:
                    assert (round_number, kept.ballot) >= max(key for key in voted if key[0] == round_number)

    run_virtual(main())
