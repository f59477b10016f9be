"""One peer's inner steps from round to round: what it offers, what comes too late, and what becomes of that.

An update is late if a round is committed without it. The charter's `training.late` decides: `drop`, or `carry`, which
hands it over at once and adds it to the next round's, as error feedback does with every chunk that was not counted. An
update that misses that round as well is dropped: nothing in a round is older than one round. Each such update is an
event. An update that was in a roster stays as it is while its round lasts: who is cut off then (island mode) trains on
beside it, and those steps are late by design. No protocol here: rounds are `swarm.round`'s business, this is what the
engine does between them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from swarm import events
from swarm.clock import monotonic_s
from swarm.identity.peer_id import PeerId
from swarm.node.round_length import planned_s, swarm_pace
from swarm.round.outcome import Offer
from swarm.round.reduction import Reduction
from swarm.round.settle import settle
from swarm.sovereignty.gate import largest_rms
from swarm.sovereignty.privacy import Receipt
from swarm.state.head import Head
from swarm.state.records import Decided
from swarm.state.roster import Roster
from swarm.state.run import Run
from swarm.vector.feedback import carry_in

NOT_READY = "it was not ready when the round was committed"
NOT_IN_ROSTER = "the round's roster was closed without it"
LATE_TWICE = "it missed the next round as well"
ISLAND = "it was made while this peer was cut off"
TOO_LARGE = "it is above the charter's norm bound"
SPENT = "its self-mask had gone out when its secure sum failed"
RESTARTED = "the round counted one from before this peer's restart"
LEFT = "this peer left before the next round"
UNKNOWN = "rounds went by without this peer, and nobody can say what they counted"


@dataclass(frozen=True)
class Update:
    """What a trainer made of a round's inner steps: base minus local weights (or a mean gradient), float32 [N].

    The engine takes the vector over and writes to it, until it asks the trainer to begin again.
    """

    update_N: np.ndarray
    tokens: int
    tokens_per_s: float = 0.0
    """0 if the trainer does not say."""
    step_s: float = 0.0
    """What its shortest step takes."""
    receipt: Receipt | None = None
    """For the differential privacy it has cost, from trainers that work under it."""


class Trainer(Protocol):
    """Where updates come from."""

    def begin(self, head: Head, seconds: float | None = None) -> "asyncio.Future[Update]":
        """Starts inner steps from a head's base, for so many seconds or the charter's number; becomes their update."""
        ...

    def go_on(self) -> "asyncio.Future[Update]":
        """More inner steps from where the last update left the weights; becomes the update of all of them."""
        ...

    def train_beside(self) -> "asyncio.Future[Update]":
        """Inner steps from where the last update left the weights, until `finish`; becomes the update of those alone.

        The vector of the last update is not touched before that.
        """
        ...

    def finish(self) -> None:
        """The update is wanted after the step that is being made."""
        ...

    async def score(self, base_N: np.ndarray, current_N: np.ndarray) -> float | None:
        """The loss of a base, float32 [N], on held-out data; infinite if it is no number, None if it cannot say.

        `current_N` is the base that it was given last.
        """
        ...

    async def abandon(self) -> None:
        """The round is over without this update; returns once the trainer can begin anew."""
        ...


class Work:
    """The trainer's side of the rounds.

    Per round `begin`, `take_late`, `offer`, then `counted`, `missed` or `lost`, and `collect`.
    """

    def __init__(
        self,
        run: Run,
        me: PeerId,
        trainer: Trainer,
        residual_N: np.ndarray,
        sink: Callable[[events.AnyEvent], None],
        carried_tokens: int = 0,
    ) -> None:
        """Takes what earlier rounds left over of this peer's updates.

        Args:
            residual_N: float32 [N]; changed in place.
            carried_tokens: those of the late update that is in it, if there is one.
        """
        self.run = run
        """Under the rules in force."""
        self._me = me
        self._trainer = trainer
        self._sink = sink
        self._carries = run.charter.training.late == "carry"
        self._residual_N = residual_N
        self.carried_tokens = carried_tokens
        """Tokens of the late update that is in the residual."""
        self.spent_round = 0
        """Up to this round an earlier process had revealed its self-mask: what is made for it again is spent too."""
        self._is_spent = False
        self._began_s = 0.0
        self._seconds: float | None = None
        self._is_islanded = False
        """Whether the trainer was sent on because no quorum could be reached."""
        self._is_alone = False
        """Whether this round's offer is a late update and nothing else: its steps began from an older base."""
        self._is_first = True
        self._is_restarted = False
        """Whether this is this process's first round: an earlier one may have given an update to it."""
        self._is_beside = False
        """Whether the trainer is at steps beside this round's offer."""
        self._offered_tokens = 0
        self._taken: Update | None = None
        """The late update that is in the residual for this round, or for the next one."""
        self._training: asyncio.Future[Update] | None = None
        self._late: asyncio.Future[Update] | None = None
        """What the trainer was asked to hand over after its round had been committed."""

    def begin(self, head: Head, last: Roster | None) -> None:
        """Starts inner steps from a head's base, unless a late update is still to come.

        Args:
            last: the last committed roster, if there is one.
        """
        self._is_restarted, self._is_first = self._is_first, False
        self._began_s = monotonic_s()
        self._is_islanded = self._is_alone = False
        self._is_spent = head.round + 1 <= self.spent_round
        self._seconds = self._plan(head.round + 1, last)
        if self._late is None and self._taken is None:
            self._start(head)

    async def take_late(self, head: Head) -> bool:
        """Waits for the update that came too late for its round, if there is one; whether it is in the residual now."""
        if self._late is None:
            return False
        update = await asyncio.shield(self._late)
        self._late = None
        carry_in(self._residual_N, update.update_N)
        if not self._is_within(self._residual_N):
            self._say(head.round + 1, update.tokens + self.carried_tokens, TOO_LARGE, kept=False)
            self._residual_N[:] = 0
            self.carried_tokens = 0
            self._taken = None
            self._start(head)
            return False
        self.carried_tokens += update.tokens
        self._taken = update
        return True

    async def offer(self, head: Head) -> Offer:
        """What this peer brings to the round after `head`, once it is there; `take_late` comes first."""
        update, self._taken = self._taken, None
        if update is not None:
            left_s = self._left_s()
            if left_s is None or left_s < update.step_s:
                # Who comes early starts the leader's clock: the others would be the late ones.
                await asyncio.sleep(left_s or 0.0)
                update.update_N[:] = 0  # it comes alone: more steps would be late again
                self._is_alone = True
                return self._offer(update, 0)
            self._start(head)
        assert self._training is not None, "begin() and take_late() come first"
        update = await asyncio.shield(self._training)
        return self._offer(update, update.tokens)

    def must_stay(self, offer: Offer) -> bool:
        """Whether more steps can be no part of an offer: somebody may have counted it, or it is an older base's."""
        return self._is_alone or bool(offer.ballots)

    def train_beside(self) -> bool:
        """Sends the trainer on beside an offer that must stay as it is, if it is not at work; `collect` ends that."""
        if self._is_beside:
            return False
        self._is_beside = self._is_islanded = True
        self._training = self._trainer.train_beside()
        return True

    async def train_on(self, offer: Offer) -> Offer:
        """What this peer brings instead of an offer that was in no roster: its steps, and as many more."""
        assert not self.must_stay(offer)
        self._is_islanded = True
        self._training = self._trainer.go_on()
        update = await asyncio.shield(self._training)
        return self._offer(update, update.tokens)

    async def start_over(self, head: Head, tokens: int) -> Offer:
        """What this peer brings instead of an offer that was spent in vain: training begins again, with other batches.

        Nothing of what was spent goes on, what earlier rounds had left over included: it was in it. Nor do the `tokens`
        of steps that the trainer is making beside it: it begins again.
        """
        self._residual_N[:] = 0
        self.carried_tokens = 0
        self._say(head.round + 1, self._offered_tokens, SPENT, kept=False)
        is_beside, self._is_beside = self._is_beside, False
        self._is_islanded = self._is_alone = False
        if is_beside:
            await self._stop(head.round + 1, tokens, SPENT)
        self._began_s = monotonic_s()
        self._start(head)
        assert self._training is not None
        update = await asyncio.shield(self._training)
        return self._offer(update, update.tokens)

    async def ended(self, pending: "asyncio.Future[Offer]", offer: Offer | None) -> Offer | None:
        """What the round that has ended was brought, or would have been: an island's steps are handed over now."""
        if self._is_islanded and offer is None:
            self.hurry()
            return await pending
        is_there = pending.done() and not pending.cancelled() and pending.exception() is None
        return pending.result() if offer is None and is_there else offer

    def _start(self, head: Head) -> None:
        self._training = self._trainer.begin(head, self._left_s())

    def _left_s(self) -> float | None:
        return None if self._seconds is None else max(0.0, self._seconds - (monotonic_s() - self._began_s))

    def _offer(self, update: Update, fresh_tokens: int) -> Offer:
        self._training = None
        tokens = self._offered_tokens = fresh_tokens + self.carried_tokens
        x_N = carry_in(update.update_N, self._residual_N)
        return Offer(x_N, self._residual_N, tokens, update.tokens_per_s, update.receipt, is_spent=self._is_spent)

    def _plan(self, round_number: int, last: Roster | None) -> float | None:
        target = self.run.charter.training.target_tokens
        paces = () if last is None else [seat.tokens_per_s for seat in last.seats if seat.contributes]
        seconds = planned_s(target, paces)
        if seconds is not None:
            pace = swarm_pace(paces)
            self._sink(events.RoundPlanned(round=round_number, seconds=seconds, swarm_tokens_per_s=pace))
        return seconds

    def hurry(self) -> None:
        """The others are ready: what there is, is wanted now."""
        if self._is_beside:
            return  # its memory still holds what was offered
        if self._training is not None and not self._training.done():
            self._trainer.finish()

    def counted(self, offer: Offer, decided: Decided, reduction: Reduction | None, *, head: int) -> None:
        """A round was committed that this update was offered to; others may have committed more, up to round `head`."""
        seat = decided.roster.index.get(self._me)
        if seat is not None and decided.roster.seats[seat].contributes:
            is_other = decided.roster.ballot not in offer.ballots
            if self._is_restarted and is_other and self._is_counted(seat, decided):
                self._keep_fresh(offer, decided)
                return
            settle(self.run, self._me, offer, decided, reduction)
            self.carried_tokens = 0
            return
        if offer.is_spent:
            self._drop_spent(decided.value.round, offer)
            return
        earlier = self.carried_tokens
        tokens = offer.tokens - earlier
        if not self._carries or (head > decided.value.round and not self._is_islanded):
            self.forget_carried(decided.value.round)
            if offer.ballots:
                self._residual_N[:] = 0  # it holds what attempts took from an update that goes no further
            self._say(decided.value.round, tokens, NOT_IN_ROSTER, kept=False)
            return
        if not self._is_within(offer.x_N):
            self.forget_carried(decided.value.round)
            self._residual_N[:] = 0
            self._say(decided.value.round, tokens, TOO_LARGE, kept=False)
            return
        if earlier and offer.ballots:
            self.forget_carried(decided.value.round)  # attempts have written over what the two could be told apart by
            self._say(decided.value.round, tokens, NOT_IN_ROSTER, kept=False)
            return
        if earlier:
            self._say(decided.value.round, earlier, LATE_TWICE, kept=False)
            np.subtract(offer.x_N, offer.lost_N, out=offer.lost_N)
        else:
            settle(self.run, self._me, offer, decided, reduction)
        self.carried_tokens = tokens
        if tokens:
            self._say(decided.value.round, tokens, ISLAND if self._is_islanded else NOT_IN_ROSTER, kept=True)
            self._taken = Update(offer.x_N, tokens, offer.tokens_per_s, receipt=offer.receipt)

    def _is_counted(self, seat: int, decided: Decided) -> bool:
        return any(seat in decided.roster.contributors(bitmap) for bitmap in set(decided.value.contributors))

    def _keep_fresh(self, offer: Offer, decided: Decided) -> None:
        """An earlier process's update was counted, and what was left over before this round with it: not once more."""
        tokens = offer.tokens - self.carried_tokens
        self.carried_tokens = 0
        is_apart = not offer.ballots  # attempts write over what the two can be told apart by
        kept = self._carries and is_apart and not offer.is_spent and self._is_within(offer.x_N)
        if kept:
            np.subtract(offer.x_N, offer.lost_N, out=offer.lost_N)
            self.carried_tokens = tokens
        else:
            self._residual_N[:] = 0
        self._say(decided.value.round, tokens, RESTARTED, kept=kept)

    async def missed(self, decided: Decided, tokens: int) -> None:
        """A round was committed while the trainer was still at work for it."""
        round_number = decided.value.round
        seat = decided.roster.index.get(self._me)
        if self._is_restarted and seat is not None and self._is_counted(seat, decided):
            self._residual_N[:] = 0  # an earlier process's update was counted, and with it what was left over then
            self.carried_tokens = 0
            self._taken = None
        self.forget_carried(round_number)
        if self._late is not None:
            self._late = None
            self._say(round_number, tokens, LATE_TWICE, kept=False)
            await self._trainer.abandon()
            return
        if self._training is None:
            await self._trainer.abandon()  # it may be at that already; there was nothing but the late one
            return
        if self._is_spent:
            await self._stop(round_number, tokens, SPENT)
            return
        if self._carries:
            self._trainer.finish()
            self._late, self._training = self._training, None
            self._say(round_number, tokens, NOT_READY, kept=True)
            return
        await self._stop(round_number, tokens, NOT_READY)

    async def lost(self, round_number: int, offer: Offer | None, tokens: int) -> None:
        """Rounds were committed that this peer cannot tell the contributors of, or that it was far behind."""
        self._late = None
        if offer is None:
            self.forget_carried(round_number)
            await self._stop(round_number, tokens, UNKNOWN)
            return
        fresh_tokens = offer.tokens - self.carried_tokens
        is_within = self._is_within(offer.x_N)
        kept = self._is_islanded and self._carries and is_within and not (offer.ballots or offer.is_spent)
        if kept and self.carried_tokens:
            np.subtract(offer.x_N, offer.lost_N, out=offer.x_N)
        self.forget_carried(round_number)
        if kept:
            self.carried_tokens = fresh_tokens
            np.copyto(self._residual_N, offer.x_N)
        else:
            self._residual_N[:] = 0
        self._say(round_number, fresh_tokens, ISLAND if kept else UNKNOWN, kept=kept)

    async def collect(self, round_number: int, tokens: int) -> None:
        """The round is over, and with it what kept an offer as it is: takes what was trained beside it."""
        if not self._is_beside:
            return
        self._is_beside = False
        if not self._carries:
            await self._stop(round_number, tokens, ISLAND)
            return
        self._trainer.finish()
        self._late, self._training = self._training, None
        self._say(round_number, tokens, ISLAND, kept=True)

    def leave(self, round_number: int, tokens: int) -> None:
        """This peer stops: says what of its late updates nobody will get."""
        if self._late is not None or self._is_beside:
            self._say(round_number, tokens, LEFT, kept=False)

    def _is_within(self, update_N: np.ndarray) -> bool:
        """Whether the gate would let it out: what it would not spoils what it is added to."""
        return largest_rms(update_N, self.run.grid) <= self.run.charter.reduce.max_rms

    def _drop_spent(self, round_number: int, offer: Offer) -> None:
        self._residual_N[:] = 0
        self.carried_tokens = 0
        self._say(round_number, offer.tokens, SPENT, kept=False)

    async def _stop(self, round_number: int, tokens: int, reason: str) -> None:
        self._training = None
        self._say(round_number, tokens, reason, kept=False)
        await self._trainer.abandon()

    def forget_carried(self, round_number: int) -> None:
        """A late update that missed its second round cannot be told from the rest of the residual any more."""
        self._taken = None
        if self.carried_tokens:
            self._say(round_number, self.carried_tokens, LATE_TWICE, kept=False)
            self.carried_tokens = 0
            self._residual_N[:] = 0

    def _say(self, round_number: int, tokens: int, reason: str, *, kept: bool) -> None:
        self._sink(events.UpdateLate(round=round_number, tokens=tokens, kept=kept, reason=reason))
