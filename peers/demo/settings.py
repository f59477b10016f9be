"""What a run of the pilot is made of: sizes that follow from the number of rounds, and folders."""

from dataclasses import dataclass
from math import ceil
from pathlib import Path

from peers.demo.terms import PilotTier

FEWEST_INNER_STEPS = 10
INNER_STEPS_AFTER_KILL = 100
"""A region makes at least so many after the kill: time enough for the fresh peer to start, verify and contribute."""
FEWEST_ROUNDS_WITH_KILL = 5
DEFAULT_ROUNDS = 25


@dataclass(frozen=True)
class Settings:
    """One run."""

    rounds: int
    out: Path
    seed: int
    data: Path | None = None
    """A folder per region, instead of the Debian texts."""
    privacy: PilotTier | None = None
    """The privacy tier in force; None: licence gates and audit, as for every peer."""
    build: bool = False
    """Whether every region makes its own model from the Shared Base in the end."""

    @property
    def inner_steps(self) -> int:
        """Between two rounds."""
        if not self.kills:
            return FEWEST_INNER_STEPS
        return max(FEWEST_INNER_STEPS, ceil(INNER_STEPS_AFTER_KILL / (self.rounds - self.kill_after_round)))

    @property
    def kills(self) -> bool:
        return self.rounds >= FEWEST_ROUNDS_WITH_KILL

    @property
    def kill_after_round(self) -> int:
        """The round whose commit is followed by SIGKILL."""
        return max(1, self.rounds // 4)

    @property
    def join_after_round(self) -> int:
        """The round whose commit is followed by the fresh peer's start."""
        return self.kill_after_round + (2 if self.rounds >= 20 else 0)

    @property
    def documents(self) -> Path:
        return self.out / "documents"

    @property
    def peers(self) -> Path:
        return self.out / "peers"

    @property
    def sovereign(self) -> Path:
        """A folder per region that makes its own model: its data, its recipe and its build."""
        return self.out / "sovereign"
