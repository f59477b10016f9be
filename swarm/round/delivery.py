"""What of this peer's update went out in one attempt, and what quantising took from it (error feedback).

`x_N` is never changed while a round lasts, so every attempt encodes the same. `lost_N` is scratch until the round
commits: `settle` then leaves in it, chunk by chunk, what has not been delivered and is carried into the next round.
"""

from dataclasses import dataclass

import numpy as np

from swarm.sovereignty.permit import Permit
from swarm.state.run import Run
from swarm.vector.feedback import share_in
from swarm.vector.grid import Vector


@dataclass(frozen=True)
class Contribution:
    """What this peer gives: `x_N` is update plus residual, float32 [N], frozen for all attempts of the round."""

    x_N: Vector
    lost_N: Vector
    """Float32 [N], this peer's to write."""
    permit: Permit


class Delivery:
    """One attempt's encodings of one peer."""

    def __init__(self, run: Run, contribution: Contribution | None) -> None:
        self._run = run
        self.contribution = contribution
        self._parts: set[int] = set()
        """Chunks whose own part was quantised last: `lost_N` holds what that took."""
        self._means: dict[int, bytes] = {}
        """Chunks whose own part went into a mean made here: the digest of the result, or the bitmap of the sum."""

    def encode_part(self, chunk: int) -> bytes:
        """This peer's own part of a chunk."""
        assert self.contribution is not None
        bounds = self._run.grid.bounds(chunk)
        self._means.pop(chunk, None)
        self._parts.add(chunk)
        return self._run.codec.encode(self.contribution.x_N[bounds], self.contribution.lost_N[bounds])

    def encode_mean(self, chunk: int, mean_n: Vector, total_weight: int, own_weight: int) -> bytes:
        """A mean this peer's own part is in, unquantised: what quantising takes is this peer's to carry."""
        assert self.contribution is not None
        lost_n = self.contribution.lost_N[self._run.grid.bounds(chunk)]
        before_n = lost_n.copy() if chunk in self._means else None
        data = self._run.codec.encode(mean_n, lost_n)
        share_in(lost_n, total_weight, own_weight)
        if before_n is not None:  # a sum made here went into a result made here: both took something
            lost_n += before_n
        self._parts.discard(chunk)
        return data

    def made(self, chunk: int, mark: bytes) -> None:
        """Names what `encode_mean` made: a result's digest or a sum's bitmap."""
        self._means[chunk] = mark

    def settle_chunk(self, chunk: int, *, is_counted: bool, digest: bytes, group_bitmap: bytes) -> None:
        """Leaves in `lost_N` what a committed chunk did not deliver of this peer's update.

        `digest` is the committed result's, `group_bitmap` its contributors within this peer's group.
        """
        contribution = self.contribution
        assert contribution is not None
        bounds = self._run.grid.bounds(chunk)
        if not is_counted:
            contribution.lost_N[bounds] = contribution.x_N[bounds]
        elif chunk not in self._parts and self._means.get(chunk) not in (digest, group_bitmap):
            # Counted by an owner that had it from another part of this attempt than the last one made here.
            self._run.codec.encode(contribution.x_N[bounds], contribution.lost_N[bounds])


def settle_without(run: Run, x_N: Vector, lost_N: Vector, chunk: int, *, is_counted: bool) -> None:
    """As `settle_chunk`, when the attempt that was committed left nothing here but the inputs."""
    bounds = run.grid.bounds(chunk)
    if is_counted:
        run.codec.encode(x_N[bounds], lost_N[bounds])
    else:
        np.copyto(lost_N[bounds], x_N[bounds])
