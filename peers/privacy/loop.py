"""The built-in trainer's inner steps under differential privacy: charge, draw, clip, add noise, step; over and over.

    while the budget affords one more:  charge the account (on disk) -> Poisson batch -> noisy gradient -> step
    afterwards:                         no more steps; rounds are only followed

No loss is computed for anybody to see, and what is reported of a step is what the charter says of every step. How long
a step takes does depend on how many records were drawn: that is not hidden.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from peers.privacy.account import Account
from peers.privacy.accounting import accountant_name, epsilon_of, require_opacus
from peers.privacy.gradients import PerSample, noisy_mean
from peers.privacy.keystream import Keystream
from peers.privacy.records import PoissonSampler, find_records, sample_rate
from swarm.charter.manifest import Training
from swarm.errors import PolicyError
from swarm.node.optimizer import SwarmOptimizer
from swarm.sovereignty.privacy import Budget, Receipt, Spent


class PrivateSteps:
    """One run's private steps on one model."""

    def __init__(
        self, model: nn.Module, paths: Sequence[Path], training: Training, budget: Budget, account: Account
    ) -> None:
        """
        Raises:
            ModelError: Opacus cannot handle the model; the message names the module.
            DataError: there is nothing to train on.
            PolicyError: delta is not below one over the number of records.
        """
        require_opacus()
        self._training = training
        self._budget = budget
        self._account = account
        self._accountant = accountant_name()
        self._stream = Keystream()
        records = find_records(paths, budget.unit, training.sequence_length)
        if budget.delta * len(records) >= 1:
            raise PolicyError(
                f"the charter's delta ({budget.delta:g}) is not below 1 over the number of {budget.unit}s here: a "
                "guarantee with it would allow to publish one of them"
            )
        self._rate = sample_rate(len(records), training.batch_size)
        self._sampler = PoissonSampler(records, self._rate, training.sequence_length, self._stream)
        self._per_sample = PerSample(model)

    @property
    def at_once(self) -> int:
        """Sequences in memory at once."""
        return min(self._training.batch_size, self._per_sample.at_once)

    @property
    def can_afford_one(self) -> bool:
        """Whether one more step stays within the budget."""
        charges = self._account.with_step(self._budget.noise_multiplier, self._rate)
        return epsilon_of(charges, self._budget.delta) <= self._budget.epsilon

    def gradient(self) -> None:
        """Makes the next private gradient and hands it to the model's parameters; it is charged before it exists."""
        self._account.charge(self._budget.noise_multiplier, self._rate)
        gradient_N = noisy_mean(
            self._per_sample,
            self._sampler.draw(),
            max_norm=self._budget.max_grad_norm,
            noise_multiplier=self._budget.noise_multiplier,
            expected_batch=self._training.batch_size,
            stream=self._stream,
        )
        self._per_sample.set_gradient(gradient_N)

    def receipt(self, update_steps: int) -> Receipt:
        """What the account says now, for an update of so many steps."""
        budget = self._budget
        spent = Spent(
            unit=budget.unit,
            epsilon=epsilon_of(self._account.charges, budget.delta),
            delta=budget.delta,
            noise_multiplier=budget.noise_multiplier,
            max_grad_norm=budget.max_grad_norm,
            steps=self._account.steps,
            accountant=self._accountant,
        )
        return Receipt(spent, update_steps)

    def release(self) -> None:
        """Gives the model back as it was."""
        self._per_sample.release()


def train_privately(optimizer: SwarmOptimizer, steps: PrivateSteps, training: Training) -> None:
    """Trains until the node stops; once the budget is spent, only follows."""
    optimizer.receipt = steps.receipt
    step_tokens = training.batch_size * training.sequence_length
    while not optimizer.is_finished:
        if not steps.can_afford_one:
            optimizer.sit_out()
            continue
        steps.gradient()
        optimizer.report(tokens=step_tokens, loss=float("nan"))
        optimizer.step()
