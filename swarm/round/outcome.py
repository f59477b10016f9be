"""What a peer brings to a round, and how one of its attempts ends for it. Data only."""

from dataclasses import dataclass, field

import numpy as np

from swarm.net import wire
from swarm.sovereignty.privacy import Receipt
from swarm.state.head import Successor
from swarm.state.records import Decided


@dataclass
class Offer:
    """What a peer brings to a round, frozen for all its attempts."""

    x_N: np.ndarray
    """Update plus residual, float32 [N]."""
    lost_N: np.ndarray
    """Float32 [N]: the residual's memory, in which the round leaves what it did not deliver."""
    tokens: int
    tokens_per_s: float = 0.0
    receipt: Receipt | None = None
    """For the differential privacy it has cost, from peers that train under it."""
    ballots: set[wire.Ballot] = field(default_factory=set[wire.Ballot])
    """Attempts whose all-reduce it went into: only a roster of one of these can have counted it."""
    is_spent: bool = False
    """Its self-mask went out in a secure sum: it is in that sum or in none, and in no other one ever."""
    is_withheld: bool = False
    """The gate kept it back from a secure sum, which waits for all that said they give: this one says so no more."""


@dataclass(frozen=True)
class Committed:
    """The round is decided; `successor` is the state it leads to."""

    decided: Decided
    successor: Successor


@dataclass(frozen=True)
class Aborted:
    """This attempt came to nothing, and this peer has not voted in it."""

    reason: str


@dataclass(frozen=True)
class InDoubt:
    """This peer voted in this attempt and holds no record yet."""

    reason: str


Outcome = Committed | Aborted | InDoubt
