"""The account of privacy spent: one file, over all rounds and restarts, written before what it accounts for happens.

A step is charged, and the charge synced to the disk, before the batch of that step is drawn: whatever kills the process
afterwards, the account says at least what was spent. It is no part of a checkpoint, so no restore brings it back to an
older figure, and nothing here lowers it. What cannot be read is refused: nobody could say what was spent.

Whoever deletes or replaces the file starts at zero; the node's own high-water mark notices (swarm.node.spending).
"""

from pathlib import Path
from typing import Literal

import msgspec

from peers.privacy.accounting import Charge
from swarm.errors import StateError
from swarm.state.disk import read_file, remove_half_written, replace_file, told

ACCOUNT = "privacy-account.json"
"""In the trainer's scratch folder, the only one it can write."""


class _AccountFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Literal[1] = 1
    charges: tuple[Charge, ...]


def read_charges(path: Path) -> tuple[Charge, ...]:
    """What an account's file says, also while its trainer is at work; nothing where there is none.

    Raises:
        StateError: the file cannot be read, or is damaged.
    """
    data = read_file(path)
    if data is None:
        return ()
    try:
        kept = msgspec.json.decode(data, type=_AccountFile)
    except msgspec.DecodeError:
        raise StateError(
            f"the privacy account {path} is damaged: what was spent is unknown, so nothing more may be"
        ) from None
    if not all(charge.steps > 0 for charge in kept.charges):
        raise StateError(f"the privacy account {path} holds a charge of no steps: somebody has changed it")
    return kept.charges


class Account:
    """All steps that were ever charged here."""

    def __init__(self, path: Path) -> None:
        """Opens the account, or a new one where there is no file.

        Raises:
            StateError: the file cannot be read, or is damaged.
        """
        self._path = path
        with told(path):
            remove_half_written(path.parent)
        self.charges = read_charges(path)

    @property
    def steps(self) -> int:
        return sum(charge.steps for charge in self.charges)

    def with_step(self, noise_multiplier: float, sample_rate: float) -> tuple[Charge, ...]:
        """The charges as they would be after one more step."""
        kinds = {(charge.noise_multiplier, charge.sample_rate): charge.steps for charge in self.charges}
        kinds[noise_multiplier, sample_rate] = kinds.get((noise_multiplier, sample_rate), 0) + 1
        return tuple(Charge(*kind, steps) for kind, steps in kinds.items())

    def charge(self, noise_multiplier: float, sample_rate: float) -> None:
        """Charges one step; it is on the disk when this returns. Raises StateError: the step may not be made then."""
        charges = self.with_step(noise_multiplier, sample_rate)
        replace_file(self._path, [msgspec.json.encode(_AccountFile(charges=charges))])
        self.charges = charges
