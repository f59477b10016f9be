"""A node whose trainer works under differential privacy: what it withholds, and the mark that nothing lowers."""

import asyncio
import socket
from pathlib import Path

import msgspec
import numpy as np
import pytest

from swarm import events
from swarm.errors import ProtocolError, StateError
from swarm.identity.key import Identity
from swarm.net import wire
from swarm.node.link import NodeEnd
from swarm.node.messages import FromTrainer, Progress, TrainerHello, UpdateMade, withheld
from swarm.node.private_training import PrivateTraining
from swarm.node.shared import SharedVectors
from swarm.node.spawn import make_shared_fd
from swarm.node.spending import MARK, Private, Spending
from swarm.node.work import Update
from swarm.sovereignty.policy import DpRules
from swarm.sovereignty.privacy import Receipt, Spent
from swarm.state.records import Record
from swarm.state.roster import read_join
from swarm.state.run import Run
from swarm.state.stated import newest_spending
from tests.simulation import peer_identity
from tests.unit.state.samples import MadeRound, ballot_led_by, join_of, make_chain, small_charter, zero_head

STEP_TOKENS = 128


def receipt(steps: int, update_steps: int = 3) -> Receipt:
    return Receipt(Spent("sequence", steps / 10, 1e-6, 1.0, 1.0, steps, "made up"), update_steps)


def test_reports_lose_what_depends_on_private_records() -> None:
    told = withheld(Progress(2, 5, 1.25, 613, 99.5), STEP_TOKENS)
    assert told == Progress(2, 5, None, 5 * STEP_TOKENS, 0.0)
    made = UpdateMade(2, 613, 1.25, 5, 99.5, 0.1, receipt(5))
    assert withheld(made, STEP_TOKENS) == UpdateMade(2, 5 * STEP_TOKENS, None, 5, 0.0, 0.1, receipt(5))
    assert withheld(TrainerHello("ab"), STEP_TOKENS) == TrainerHello("ab")


def test_the_mark_outlives_restarts_and_refuses_an_account_that_was_put_back(tmp_path: Path) -> None:
    said: list[str] = []

    def confirm(given: Receipt | None) -> Receipt | None:
        return asyncio.run(Spending(tmp_path, said.append).confirm(given))  # a new process each time

    assert confirm(receipt(10)) == receipt(10)
    assert confirm(receipt(10, 0)) == receipt(10, 0)
    assert confirm(receipt(15)) == receipt(15)  # a killed trainer had charged two more
    assert confirm(None) is None and not said
    assert confirm(receipt(17)) is None and "older copy" in said[0]  # at least 18 were made
    assert confirm(receipt(20)) is None, "more steps on a wrong account do not make it right"
    assert confirm(receipt(24)) == receipt(24)
    (tmp_path / MARK).write_bytes(b"{")
    with pytest.raises(StateError, match="damaged"):
        Spending(tmp_path, said.append)


def test_an_older_copy_of_the_whole_state_folder_is_held_to_what_is_on_record(tmp_path: Path) -> None:
    """Account and mark are both as they were at step 4; the records that others hold state 40."""
    run, me = Run(small_charter()), peer_identity(1)
    chain = make_chain(run, 3)
    records = {made.value.round: made.record for made in chain}
    records[2] = stating(chain[1], me, receipt(40).spent)
    said: list[events.AnyEvent] = []
    training = PrivateTraining(DpRules(epsilon=9.0, noise_multiplier=1.0, max_grad_norm=1.0), tmp_path, said.append)
    spending = training.of_trainer(run.charter).spending

    async def main() -> None:
        assert await spending.confirm(receipt(4, 4)) == receipt(4, 4)
        await training.heed_records(records.get, 3, peer_identity(0).peer_id)
        assert await spending.confirm(receipt(5, 1)) is not None, "another peer's statement"
        await training.heed_records(records.get, 3, me.peer_id)
        spending.begin()
        assert await spending.confirm(receipt(6, 1)) is None

    asyncio.run(main())
    assert any(isinstance(event, events.Note) and "at least 41 were made" in event.text for event in said)
    restarted = Spending(tmp_path, lambda _: None)
    assert asyncio.run(restarted.confirm(receipt(41, 0))) is not None
    assert newest_spending(records.get, 1, me.peer_id) is None
    assert newest_spending({1: b"damaged", **records}.get, 3, me.peer_id) == receipt(40).spent


def stating(made: MadeRound, me: Identity, spent: Spent) -> bytes:
    """The record of a round whose roster has this statement in one join."""
    roster = wire.unseal(made.value.roster, wire.Roster)
    joins = tuple(
        wire.seal(me, msgspec.structs.replace(wire.unseal(join, wire.Join), privacy=spent))
        if join.author == me.peer_id
        else join
        for join in roster.joins
    )
    leader = next(one for one in made.crew if one.peer_id == made.value.roster.author)
    sealed = wire.seal(leader, msgspec.structs.replace(roster, joins=joins))
    value = msgspec.structs.replace(made.value, roster=sealed)
    return wire.encode(Record(wire.encode(value), ()))


def test_an_island_adds_to_the_steps_of_its_round(tmp_path: Path) -> None:
    spending = Spending(tmp_path, lambda _: None)
    spending.begin()
    assert asyncio.run(spending.confirm(receipt(3, 3))) is not None
    assert asyncio.run(spending.confirm(receipt(6, 6))) is not None  # went on: six steps since the base
    spending.begin()
    assert asyncio.run(spending.confirm(receipt(7, 3))) is None


def test_an_update_without_a_good_receipt_reaches_nobody(tmp_path: Path) -> None:
    """Not even through the residuals: it is emptied."""
    heard: list[FromTrainer] = []

    async def updates() -> list[tuple[Update, float]]:
        ours, theirs = socket.socketpair()
        head = zero_head(Run(small_charter()))
        shared = SharedVectors(make_shared_fd(), head.base_N.size)
        private = Private(Spending(tmp_path, lambda _: None), STEP_TOKENS)
        end = await NodeEnd.open(ours.detach(), shared, "charter", "ab", heard.append, private)
        listening = asyncio.create_task(end.listen())
        found: list[tuple[Update, float]] = []
        for given in (receipt(10), None, receipt(9), receipt(16)):
            future = end.begin(head)
            shared.update_N[:] = 2.0
            made = UpdateMade(head.round + 1, 999, 0.5, 3, 77.0, receipt=given)
            theirs.sendall(msgspec.json.encode(made) + b"\n")
            update = await asyncio.wait_for(future, 10)
            found.append((update, float(np.abs(update.update_N).max())))
        theirs.close()
        await listening
        return found

    found = asyncio.run(updates())
    assert [(update.receipt, size) for update, size in found] == [
        (receipt(10), 2.0),
        (None, 0.0),
        (None, 0.0),
        (receipt(16), 2.0),
    ]
    assert all((update.tokens, update.tokens_per_s) == (3 * STEP_TOKENS, 0.0) for update, _ in found)
    assert all(isinstance(message, UpdateMade) and message.loss is None for message in heard)


def test_spending_is_published_and_its_end_is_said_once(tmp_path: Path) -> None:
    said: list[events.AnyEvent] = []
    rules = DpRules(epsilon=1.4, noise_multiplier=1.0, max_grad_norm=1.0)
    training = PrivateTraining(rules, tmp_path, said.append)
    for number, given in enumerate((receipt(10), None, receipt(13, 0), receipt(13, 0)), start=1):
        training.tell(UpdateMade(number, 0, None, 0, receipt=given))
    assert [type(event) for event in said] == [events.PrivacySpent, events.PrivacySpent, events.PrivacyBudgetSpent]
    first, _, end = said
    assert isinstance(first, events.PrivacySpent) and (first.epsilon, first.budget, first.steps) == (1.0, 1.4, 10)
    assert isinstance(end, events.PrivacyBudgetSpent) and (end.round, end.epsilon) == (3, 1.3)


@pytest.mark.parametrize("epsilon", [2.5, float("nan"), -1.0])
def test_a_join_publishes_what_was_spent_and_no_nonsense(epsilon: float) -> None:
    run, ada = Run(small_charter()), peer_identity(0)
    spent = msgspec.structs.replace(receipt(10).spent, epsilon=epsilon)
    made = msgspec.structs.replace(join_of(run, zero_head(run), ada, ballot_led_by(ada)), privacy=spent)
    if epsilon == 2.5:
        join, _ = read_join(wire.seal(ada, made), run)
        assert join.privacy == spent
    else:
        with pytest.raises(ProtocolError, match="privacy"):
            read_join(wire.seal(ada, made), run)
