"""What becomes of updates that come too late: the sums that reach the next round, and an event for each."""

import asyncio
from types import SimpleNamespace
from typing import Any, Literal

import msgspec
import numpy as np
import pytest

from swarm import events
from swarm.charter.manifest import Training
from swarm.net import wire
from swarm.net.memory import run_virtual
from swarm.node.work import (
    ISLAND,
    LATE_TWICE,
    LEFT,
    NOT_IN_ROSTER,
    NOT_READY,
    RESTARTED,
    TOO_LARGE,
    UNKNOWN,
    Update,
    Work,
)
from swarm.round.outcome import Offer
from swarm.state.head import Head
from swarm.state.resume import state_zero
from swarm.state.run import Run
from tests.simulation import base_zero, make_charter, peer_identity

ME = peer_identity(0).peer_id
N = 600


class HandTrainer:
    """Hands over what a test says, when it says so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._update: asyncio.Future[Update] | None = None

    def begin(self, head: Head, seconds: float | None = None) -> "asyncio.Future[Update]":
        self.asked.append(f"begin {head.round}" if seconds is None else f"begin {head.round} for {seconds:.0f} s")
        self._update = asyncio.get_running_loop().create_future()
        return self._update

    def go_on(self) -> "asyncio.Future[Update]":
        self.asked.append("go on")
        self._update = asyncio.get_running_loop().create_future()
        return self._update

    def give(self, value: float, tokens: int, step_s: float = 1.0) -> None:
        assert self._update is not None
        self._update.set_result(Update(np.full(N, value, np.float32), tokens, 10.0, step_s))

    def train_beside(self) -> "asyncio.Future[Update]":
        self.asked.append("beside")
        self._update = asyncio.get_running_loop().create_future()
        return self._update

    def finish(self) -> None:
        self.asked.append("finish")

    async def score(self, base_N: np.ndarray, current_N: np.ndarray) -> float | None:
        return None

    async def abandon(self) -> None:
        self.asked.append("abandon")


class Stage:
    """One peer's work, and rounds that are committed without it."""

    def __init__(self, late: Literal["carry", "drop"], target_tokens: int = 0) -> None:
        training = Training(late=late, target_tokens=target_tokens)
        self.run = Run(msgspec.structs.replace(make_charter(2, elements=N, chunk_elements=256), training=training))
        head = state_zero(self.run, base_zero(N))
        assert head is not None
        self._head = head
        self.trainer = HandTrainer()
        self.residual_N = np.full(N, 0.5, np.float32)
        self.late: list[events.UpdateLate] = []
        self.work = Work(self.run, ME, self.trainer, self.residual_N, self._see)

    def _see(self, event: events.AnyEvent) -> None:
        if isinstance(event, events.UpdateLate):
            self.late.append(event)

    def head(self, round_number: int) -> Head:
        return Head(
            round_number, b"", self._head.electorate, self._head.base_N, self._head.outer_VN, b"", self._head.rules
        )

    def begin(self, after: int, last: Any = None) -> "asyncio.Task[Offer]":
        self.work.begin(self.head(after), last)
        return asyncio.create_task(self._bring(self.head(after)))

    async def _bring(self, head: Head) -> Offer:
        await self.work.take_late(head)
        return await self.work.offer(head)

    def without_me(self, round_number: int) -> Any:
        """A decision that this peer is in no roster of."""
        roster = SimpleNamespace(index={}, ballot=None, round=round_number, contributors=lambda bitmap: ())
        contributors = (b"",) * self.run.grid.chunks
        return SimpleNamespace(
            value=SimpleNamespace(round=round_number, is_rejected=False, contributors=contributors), roster=roster
        )

    @property
    def said(self) -> list[tuple[int, int, bool, str]]:
        return [(event.round, event.tokens, event.kept, event.reason) for event in self.late]


def test_an_update_that_was_not_ready_is_handed_over_and_goes_into_the_next_round() -> None:
    async def main() -> None:
        stage = Stage("carry")
        pending = stage.begin(0)
        await asyncio.sleep(1.0)
        pending.cancel()
        await stage.work.missed(stage.without_me(1), 70)
        assert stage.said == [(1, 70, True, NOT_READY)]
        pending = stage.begin(1)
        await asyncio.sleep(1.0)
        stage.trainer.give(2.0, 80)
        offer = await pending
        assert (offer.x_N == 2.5).all() and offer.tokens == 80 and offer.lost_N is stage.residual_N
        assert stage.trainer.asked == ["begin 0", "finish"]

    run_virtual(main())


def test_with_a_plan_it_trains_on_for_what_is_left_of_the_round() -> None:
    async def main() -> None:
        stage = Stage("carry", target_tokens=1000)
        last: Any = SimpleNamespace(seats=[SimpleNamespace(tokens_per_s=50.0, contributes=True)])
        stage.begin(1, last).cancel()
        await asyncio.sleep(20.0)
        await stage.work.missed(stage.without_me(2), 70)
        pending = stage.begin(2, last)
        await asyncio.sleep(5.0)
        stage.trainer.give(2.0, 80)
        await asyncio.sleep(15.0)
        stage.trainer.give(1.0, 30)
        offer = await pending
        assert (offer.x_N == 3.5).all() and offer.tokens == 110
        assert stage.trainer.asked == ["begin 1 for 20 s", "finish", "begin 2 for 15 s"]
        stage.work.counted(offer, stage.without_me(3), None, head=3)
        assert stage.said[1:] == [(3, 80, False, LATE_TWICE), (3, 30, True, NOT_IN_ROSTER)]
        assert (stage.residual_N == 1.0).all()  # the older of the two is out again

    run_virtual(main())


def test_where_no_step_fits_any_more_it_comes_alone_and_not_before_the_others() -> None:
    async def main() -> None:
        stage = Stage("carry", target_tokens=1000)
        last: Any = SimpleNamespace(seats=[SimpleNamespace(tokens_per_s=50.0, contributes=True)])
        stage.begin(1, last).cancel()
        await stage.work.missed(stage.without_me(2), 70)
        began_s = asyncio.get_running_loop().time()
        pending = stage.begin(2, last)
        await asyncio.sleep(5.0)
        stage.trainer.give(2.0, 80, step_s=16.0)
        offer = await pending
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(20.0)
        assert (offer.x_N == 2.5).all() and offer.tokens == 80
        assert stage.trainer.asked == ["begin 1 for 20 s", "finish"]

    run_virtual(main())


def test_one_that_misses_the_next_round_as_well_is_dropped() -> None:
    async def main() -> None:
        stage = Stage("carry")
        stage.begin(0).cancel()
        await stage.work.missed(stage.without_me(1), 70)
        pending = stage.begin(1)
        await asyncio.sleep(0)
        pending.cancel()
        await stage.work.missed(stage.without_me(2), 75)
        assert stage.said[1:] == [(2, 75, False, LATE_TWICE)]
        assert stage.trainer.asked[-1] == "abandon"
        stage.begin(2)
        assert stage.trainer.asked[-1] == "begin 2"
        assert (stage.residual_N == 0.5).all()

    run_virtual(main())


def test_a_charter_that_drops_keeps_the_residual_and_nothing_else() -> None:
    async def main() -> None:
        stage = Stage("drop")
        stage.begin(0).cancel()
        await stage.work.missed(stage.without_me(1), 70)
        pending = stage.begin(1)
        await asyncio.sleep(1.0)
        stage.trainer.give(2.0, 80)
        offer = await pending
        stage.work.counted(offer, stage.without_me(2), None, head=2)
        assert stage.said == [(1, 70, False, NOT_READY), (2, 80, False, NOT_IN_ROSTER)]
        assert stage.trainer.asked == ["begin 0", "abandon", "begin 1"]
        assert (stage.residual_N == 0.5).all()

    run_virtual(main())


@pytest.mark.parametrize(("head", "kept"), [(1, True), (2, False)])
def test_a_roster_closed_without_it_is_late_too_and_only_the_very_next_round_takes_it(head: int, kept: bool) -> None:
    async def main() -> None:
        stage = Stage("carry")
        pending = stage.begin(0)
        await asyncio.sleep(1.0)
        stage.trainer.give(2.0, 80)
        stage.work.counted(await pending, stage.without_me(1), None, head=head)
        assert stage.said == [(1, 80, kept, NOT_IN_ROSTER)]
        assert (stage.residual_N == (2.5 if kept else 0.5)).all()

    run_virtual(main())


def test_rounds_nobody_can_tell_the_contributors_of() -> None:
    async def main() -> None:
        stage = Stage("carry")
        pending = stage.begin(0)
        await asyncio.sleep(1.0)
        stage.trainer.give(2.0, 80)
        await stage.work.lost(1, await pending, 80)
        assert (stage.residual_N == 0).all()
        stage.begin(5)
        await stage.work.lost(6, None, 30)
        assert stage.said == [(1, 80, False, UNKNOWN), (6, 30, False, UNKNOWN)]
        assert stage.trainer.asked[-1] == "abandon"

    run_virtual(main())


def test_hurry_ends_training_and_nothing_else() -> None:
    async def main() -> None:
        stage = Stage("carry")
        stage.work.hurry()
        assert stage.trainer.asked == []
        stage.begin(0)
        stage.work.hurry()
        assert stage.trainer.asked == ["begin 0", "finish"]

    run_virtual(main())


def test_a_late_update_that_waits_alone_and_misses_its_round_is_one_event() -> None:
    async def main() -> None:
        stage = Stage("carry", target_tokens=1000)
        last: Any = SimpleNamespace(seats=[SimpleNamespace(tokens_per_s=50.0, contributes=True)])
        stage.begin(1, last).cancel()
        await stage.work.missed(stage.without_me(2), 70)
        pending = stage.begin(2, last)
        await asyncio.sleep(1.0)
        stage.trainer.give(2.0, 80, step_s=30.0)
        await asyncio.sleep(1.0)
        pending.cancel()
        await stage.work.missed(stage.without_me(3), 0)
        assert stage.said[1:] == [(3, 80, False, LATE_TWICE)]
        assert (stage.residual_N == 0).all()

    run_virtual(main())


BALLOT = wire.Ballot(0, 1, ME)


async def trained_beside(stage: Stage) -> Offer:
    """An update of 80 tokens that was in a roster when this peer was cut off, and steps beside it."""
    pending = stage.begin(0)
    await asyncio.sleep(1.0)
    stage.trainer.give(2.0, 80)
    offer = await pending
    offer.ballots.add(BALLOT)
    assert stage.work.must_stay(offer)
    assert stage.work.train_beside() and not stage.work.train_beside()
    stage.work.hurry()
    assert stage.trainer.asked == ["begin 0", "beside"], "its memory still holds what was offered"
    return offer


def test_steps_beside_an_update_that_was_in_a_roster_go_into_the_next_round() -> None:
    async def main() -> None:
        stage = Stage("carry")
        offer = await trained_beside(stage)
        stage.work.counted(offer, stage.without_me(1), None, head=6)
        await stage.work.collect(1, 40)
        assert stage.said == [(1, 80, True, ISLAND), (1, 40, True, ISLAND)]
        pending = stage.begin(6)
        await asyncio.sleep(1.0)
        stage.trainer.give(3.0, 45)
        offer = await pending
        assert (offer.x_N == 5.5).all() and offer.tokens == 125
        assert stage.trainer.asked == ["begin 0", "beside", "finish"]

    run_virtual(main())


def test_what_somebody_may_have_counted_is_dropped_and_the_steps_beside_it_are_not() -> None:
    async def main() -> None:
        stage = Stage("carry")
        offer = await trained_beside(stage)
        await stage.work.lost(1, offer, 40)
        await stage.work.collect(1, 40)
        assert stage.said == [(1, 80, False, UNKNOWN), (1, 40, True, ISLAND)]
        pending = stage.begin(30)
        await asyncio.sleep(1.0)
        stage.trainer.give(3.0, 45)
        assert ((await pending).x_N == 3.0).all()

    run_virtual(main())


def test_a_charter_that_drops_drops_steps_beside_an_update_too() -> None:
    async def main() -> None:
        stage = Stage("drop")
        offer = await trained_beside(stage)
        stage.work.counted(offer, stage.without_me(1), None, head=1)
        await stage.work.collect(1, 40)
        assert stage.said == [(1, 80, False, NOT_IN_ROSTER), (1, 40, False, ISLAND)]
        assert stage.trainer.asked == ["begin 0", "beside", "abandon"]

    run_virtual(main())


def test_a_late_update_above_the_norm_bound_is_dropped_and_training_begins() -> None:
    async def main() -> None:
        stage = Stage("carry")
        stage.begin(0).cancel()
        await stage.work.missed(stage.without_me(1), 70)
        pending = stage.begin(1)
        await asyncio.sleep(1.0)
        stage.trainer.give(1e3, 80)
        await asyncio.sleep(1.0)
        stage.trainer.give(2.0, 90)
        offer = await pending
        assert (offer.x_N == 2.0).all() and offer.tokens == 90
        assert stage.said[1:] == [(2, 80, False, TOO_LARGE)]

    run_virtual(main())


def test_a_late_update_from_before_a_restart_is_in_the_very_next_round_or_in_none() -> None:
    async def main() -> None:
        stage = Stage("carry")
        work = Work(stage.run, ME, stage.trainer, stage.residual_N, lambda _: None, 70)
        work.begin(stage.head(1), None)
        coming = asyncio.create_task(work.offer(stage.head(1)))
        await asyncio.sleep(1.0)
        stage.trainer.give(2.0, 80)
        offer = await coming
        assert (offer.x_N == 2.5).all() and offer.tokens == 150
        work.counted(offer, stage.without_me(2), None, head=2)
        assert (stage.residual_N == 2.0).all() and work.carried_tokens == 80

    run_virtual(main())


def test_a_kept_update_goes_alone_and_at_once_where_rounds_have_no_plan() -> None:
    """With as many steps again it would be late for ever, if it was late because it is slow."""

    async def main() -> None:
        stage = Stage("carry")
        pending = stage.begin(0)
        await asyncio.sleep(1.0)
        stage.trainer.give(2.0, 80)
        stage.work.counted(await pending, stage.without_me(1), None, head=1)
        offer = await asyncio.wait_for(stage.begin(1), 1.0)
        assert (offer.x_N == 2.5).all() and offer.tokens == 80
        assert stage.trainer.asked == ["begin 0"]
        stage.work.counted(offer, stage.without_me(2), None, head=2)
        assert stage.said == [(1, 80, True, NOT_IN_ROSTER), (2, 80, False, LATE_TWICE)]
        stage.begin(2)
        assert stage.trainer.asked == ["begin 0", "begin 2"] and not stage.residual_N.any()

    run_virtual(main())


def test_one_that_was_kept_and_missed_the_next_round_is_gone_though_steps_beside_it_are_still_to_come() -> None:
    async def main() -> None:
        stage = Stage("carry")
        offer = await trained_beside(stage)
        stage.work.counted(offer, stage.without_me(1), None, head=1)
        await stage.work.collect(1, 40)
        stage.begin(1).cancel()
        await stage.work.missed(stage.without_me(2), 45)
        assert stage.said[2:] == [(2, 80, False, LATE_TWICE), (2, 45, False, LATE_TWICE)]
        assert not stage.residual_N.any() and stage.work.carried_tokens == 0

    run_virtual(main())


def with_me(round_number: int, ballot: wire.Ballot, chunks: int) -> Any:
    seats = (SimpleNamespace(contributes=True),)
    roster = SimpleNamespace(
        index={ME: 0}, ballot=ballot, round=round_number, seats=seats, contributors=lambda bitmap: {0}
    )
    value = SimpleNamespace(round=round_number, is_rejected=False, contributors=(b"\x01",) * chunks)
    return SimpleNamespace(value=value, roster=roster)


@pytest.mark.parametrize("was_in_a_roster", [False, True])
def test_what_an_earlier_process_had_counted_is_not_given_once_more(was_in_a_roster: bool) -> None:
    """The residual from disk was in that update; what was made since the restart was not."""

    async def main() -> None:
        stage = Stage("carry")
        pending = stage.begin(0)
        await asyncio.sleep(1.0)
        stage.trainer.give(2.0, 80)
        offer = await pending
        if was_in_a_roster:
            offer.ballots.add(wire.Ballot(0, 2, ME))
        stage.work.counted(offer, with_me(1, BALLOT, stage.run.grid.chunks), None, head=1)
        assert stage.said == [(1, 80, not was_in_a_roster, RESTARTED)]
        assert (stage.residual_N == (0.0 if was_in_a_roster else 2.0)).all()

    run_virtual(main())


def test_an_update_above_the_norm_bound_is_not_said_to_be_kept() -> None:
    async def main() -> None:
        stage = Stage("carry")
        pending = stage.begin(0)
        await asyncio.sleep(1.0)
        stage.trainer.give(1e3, 80)
        stage.work.counted(await pending, stage.without_me(1), None, head=1)
        assert stage.said == [(1, 80, False, TOO_LARGE)]
        assert not stage.residual_N.any() and stage.work.carried_tokens == 0

    run_virtual(main())


def test_who_leaves_says_which_late_update_nobody_will_get() -> None:
    async def main() -> None:
        stage = Stage("carry")
        stage.begin(0).cancel()
        stage.work.leave(1, 10)
        assert stage.said == [], "inner steps of the open round are no late update"
        await stage.work.missed(stage.without_me(1), 70)
        stage.work.leave(2, 75)
        assert stage.said[1:] == [(2, 75, False, LEFT)]

    run_virtual(main())


@pytest.mark.parametrize("target_tokens", [0, 1000])
def test_two_late_updates_that_are_too_large_together_are_dropped_and_training_begins_once(target_tokens: int) -> None:
    async def main() -> None:
        stage = Stage("carry", target_tokens=target_tokens)
        last: Any = SimpleNamespace(seats=[SimpleNamespace(tokens_per_s=10.0, contributes=True)])
        bound = stage.run.charter.reduce.max_rms
        pending = stage.begin(0)
        await asyncio.sleep(1.0)
        stage.trainer.give(0.8 * bound, 80)
        offer = await pending
        offer.ballots.add(BALLOT)
        assert stage.work.train_beside()
        stage.work.counted(offer, stage.without_me(1), None, head=1)
        await stage.work.collect(1, 40)
        pending = stage.begin(1, last)
        await asyncio.sleep(1.0)
        stage.trainer.give(0.8 * bound, 45)
        await asyncio.sleep(1.0)
        assert stage.said[2:] == [(2, 125, False, TOO_LARGE)]
        assert [order.split(" for")[0] for order in stage.trainer.asked] == ["begin 0", "beside", "finish", "begin 1"]
        stage.trainer.give(2.0, 90)
        offer = await pending
        assert (offer.x_N == 2.0).all() and offer.tokens == 90

    run_virtual(main())


@pytest.mark.parametrize("carried_tokens", [0, 70])
def test_what_an_earlier_process_had_counted_is_gone_though_nothing_new_was_ready(carried_tokens: int) -> None:
    async def main() -> None:
        stage = Stage("carry")
        said: list[events.AnyEvent] = []
        work = Work(stage.run, ME, stage.trainer, stage.residual_N, said.append, carried_tokens)
        work.begin(stage.head(0), None)
        await work.missed(with_me(1, BALLOT, stage.run.grid.chunks), 30)
        assert not stage.residual_N.any() and work.carried_tokens == 0
        assert [event.reason for event in said if isinstance(event, events.UpdateLate)] == [NOT_READY]

    run_virtual(main())


def test_far_behind_an_island_keeps_its_own_steps_and_not_what_was_late_already() -> None:
    async def main() -> None:
        stage = Stage("carry")
        work = Work(stage.run, ME, stage.trainer, stage.residual_N, stage._see, 70)
        work.begin(stage.head(0), None)
        coming = asyncio.create_task(work.offer(stage.head(0)))
        await asyncio.sleep(1.0)
        stage.trainer.give(1.0, 40)
        going_on = asyncio.create_task(work.train_on(await coming))
        await asyncio.sleep(1.0)
        stage.trainer.give(2.0, 80)
        await work.lost(1, await going_on, 80)
        assert stage.said == [(1, 70, False, LATE_TWICE), (1, 80, True, ISLAND)]
        assert (stage.residual_N == 2.0).all() and work.carried_tokens == 80

    run_virtual(main())


def test_a_dropped_update_leaves_nothing_that_attempts_took_from_it() -> None:
    async def main() -> None:
        stage = Stage("drop")
        pending = stage.begin(0)
        await asyncio.sleep(1.0)
        stage.trainer.give(2.0, 80)
        offer = await pending
        offer.ballots.add(BALLOT)
        offer.lost_N[:] = 0.01  # an attempt's rounding
        stage.work.counted(offer, stage.without_me(1), None, head=1)
        assert not stage.residual_N.any()

    run_virtual(main())
