"""What a run of the pilot is made of: sizes that follow from the number of rounds, and folders."""

from dataclasses import dataclass
from pathlib import Path

INNER_STEPS_IN_ALL = 250
"""Per region over the whole run, as in the simulation that DESIGN section 9 quotes."""
FEWEST_INNER_STEPS, MOST_INNER_STEPS = 10, 25
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

    @property
    def inner_steps(self) -> int:
        if not self.kills:
            return FEWEST_INNER_STEPS  # a quick look
        return max(FEWEST_INNER_STEPS, min(MOST_INNER_STEPS, INNER_STEPS_IN_ALL // self.rounds))

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
