"""A node's own memory of the privacy its trainer has spent: the steps that a receipt must state at least, on disk.

The account itself is the trainer's, in the folder that the trainer writes. The node adds up the steps of the updates it
is given: if the account is put back to an older state, the next receipt states fewer. Such an update counts as one
without a receipt, and so do all after it, until the account is back. The mark is on disk before an update may leave,
and never lowered. It may lie below the account (steps of a trainer that was killed), and never above it. If the whole
state folder is an older copy, the peer's own joins on record, which others hold, say what the mark was.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from swarm.errors import StateError
from swarm.sovereignty.privacy import Receipt, Spent
from swarm.state.disk import read_file, replace_file

MARK = "privacy-spent.json"
"""In the state folder, which the trainer cannot write."""


class SpentMark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    steps: int
    epsilon: float


class Spending:
    """One peer's mark."""

    def __init__(self, state: Path, say: Callable[[str], None]) -> None:
        """Reads the mark, if there is one. Raises StateError when it cannot be read."""
        self._path = state / MARK
        self._say = say
        self._is_said = False
        self._most = SpentMark(0, 0.0)
        data = read_file(self._path)
        if data is not None:
            try:
                self._most = msgspec.json.decode(data, type=SpentMark)
            except msgspec.DecodeError:
                raise StateError(f"{self._path} is damaged: what privacy was spent is unknown") from None
        self._before_round = self._most.steps

    def begin(self) -> None:
        """The trainer is given a base: the steps of its next update are new ones."""
        self._before_round = self._most.steps

    async def heed(self, stated: Spent) -> None:
        """Takes what this peer has stated on record as the least it has spent. Raises StateError."""
        if stated.steps > self._most.steps:
            await self._keep(SpentMark(stated.steps, max(self._most.epsilon, stated.epsilon)))
            self.begin()

    async def confirm(self, receipt: Receipt | None) -> Receipt | None:
        """The receipt, once the mark is on disk; None if it states less than was spent. Raises StateError."""
        if receipt is None:
            return None
        spent = receipt.spent
        least = max(self._most.steps, self._before_round + receipt.update_steps)
        if max(least, spent.steps) > self._most.steps:
            await self._keep(SpentMark(max(least, spent.steps), max(self._most.epsilon, spent.epsilon)))
        if spent.steps >= least:
            return receipt
        if not self._is_said:
            self._is_said = True
            self._say(
                f"the privacy account in the trainer's folder is an older copy: it states {spent.steps} steps, and at "
                f"least {least} were made; nothing leaves until the newest one is back"
            )
        return None

    async def _keep(self, mark: SpentMark) -> None:
        await asyncio.to_thread(replace_file, self._path, [msgspec.json.encode(mark)])
        self._most = mark


@dataclass(frozen=True)
class Private:
    """What a node knows of a trainer under differential privacy."""

    spending: Spending
    step_tokens: int
    """What is told as the tokens of every step: the charter's batch, for the batch that was drawn is private."""
