"""A node's side of training under differential privacy: the budget, what is withheld, and what is published."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from swarm import events
from swarm.charter.manifest import Charter
from swarm.identity.peer_id import PeerId
from swarm.node.messages import UpdateMade
from swarm.node.spending import Private, Spending
from swarm.sovereignty.policy import DpRules
from swarm.sovereignty.privacy import Budget, budget_of
from swarm.state.stated import newest_spending


class PrivateTraining:
    """One peer's, under its policy's `[dp]` table."""

    def __init__(self, rules: DpRules, state: Path, sink: Callable[[events.AnyEvent], None]) -> None:
        self._rules = rules
        self._state = state
        self._sink = sink
        self._is_spent = False
        self._spending: Spending | None = None

    def budget(self, charter: Charter) -> Budget:
        """What the gate holds every update's receipt to."""
        return budget_of(self._rules, charter.privacy.delta)

    def of_trainer(self, charter: Charter) -> Private:
        """What the link to the trainer withholds. Raises StateError when what was spent cannot be read."""
        step_tokens = charter.training.batch_size * charter.training.sequence_length
        self._spending = Spending(self._state, self._say)
        return Private(self._spending, step_tokens)

    async def heed_records(self, load_record: Callable[[int], bytes | None], head: int, me: PeerId) -> None:
        """Holds the trainer's account to what this peer has stated on record: this state folder may be an older copy.

        Raises StateError when the mark cannot be written.
        """
        stated = await asyncio.to_thread(newest_spending, load_record, head, me)
        if stated is not None and self._spending is not None:
            await self._spending.heed(stated)

    def tell(self, made: UpdateMade) -> None:
        """Says what the update's receipt says, until the budget is spent: that is said once."""
        if made.receipt is None or self._is_spent:
            return
        spent = made.receipt.spent
        self._sink(
            events.PrivacySpent(
                round=made.round,
                unit=spent.unit,
                epsilon=spent.epsilon,
                delta=spent.delta,
                budget=self._rules.epsilon,
                noise_multiplier=spent.noise_multiplier,
                max_grad_norm=spent.max_grad_norm,
                steps=spent.steps,
                accountant=spent.accountant,
            )
        )
        if made.receipt.update_steps == 0:
            self._is_spent = True
            self._sink(events.PrivacyBudgetSpent(round=made.round, epsilon=spent.epsilon, budget=self._rules.epsilon))

    def _say(self, text: str) -> None:
        self._sink(events.Note(text=text))
