"""This peer's masked parts of one attempt, and what they leave behind for the next round (error feedback).

As in `swarm.round.delivery`, but its own part is quantised and masked even where it is the owner: a sum of codes is
exact only if all are codes. Rounding is drawn from a secret of this attempt, chunk by chunk, so that what a part has
lost can be worked out again.
"""

import numpy as np

from swarm.round.delivery import Contribution, Delivery
from swarm.round.secure.stage import Stage
from swarm.state.run import Run
from swarm.vector.feedback import share_in
from swarm.vector.grid import Vector
from swarm.vector.masks import chunk_key, mask, stream
from swarm.vector.secure_codes import WORD, Words


class MaskedParts(Delivery):
    """One attempt's masked parts of one peer."""

    def __init__(self, run: Run, contribution: Contribution | None, stage: Stage, weight: int) -> None:
        super().__init__(run, contribution)
        self.stage = stage
        self._weight = weight

    def encode_part(self, chunk: int) -> bytes:
        return self.masked(chunk).data.tobytes()

    def masked(self, chunk: int) -> Words:
        """This peer's masked part of a chunk, as words of shape (n,)."""
        codes_n = self._codes(chunk)
        self._parts.add(chunk)
        keys = self.stage.pair_keys(chunk)
        masked_n = mask(codes_n, self._weight, seat=self.stage.seat, pairs=keys, own=self.stage.own_key(chunk))
        return masked_n.astype(WORD, copy=False)

    def encode_mean(self, chunk: int, mean_n: Vector, total_weight: int, own_weight: int) -> bytes:
        """A mean this peer's part is in: what quantising it takes comes on top of what quantising the part took."""
        assert self.contribution is not None
        error_n = np.empty_like(mean_n)
        data = self._run.codec.encode(mean_n, error_n)
        share_in(error_n, total_weight, own_weight)
        self.contribution.lost_N[self._run.grid.bounds(chunk)] += error_n
        return data

    def settle_chunk(self, chunk: int, *, is_counted: bool, digest: bytes, group_bitmap: bytes) -> None:
        contribution = self.contribution
        assert contribution is not None
        if not is_counted:
            super().settle_chunk(chunk, is_counted=False, digest=digest, group_bitmap=group_bitmap)
        elif chunk not in self._parts or (chunk in self._means and self._means[chunk] not in (digest, group_bitmap)):
            self._codes(chunk)  # the mean that was committed is not the one made here: the part's own loss is left

    def _codes(self, chunk: int) -> Words:
        assert self.contribution is not None
        bounds = self._run.grid.bounds(chunk)
        codes = self._run.secure_codes
        key = chunk_key(self.stage.rounding, self.stage.circles.group, "rounding", chunk)
        noise_n = stream(key, bounds.stop - bounds.start)
        x_N, lost_N = self.contribution.x_N, self.contribution.lost_N
        return codes.encode(x_N[bounds], self.stage.ranges(chunk), noise_n, lost_N[bounds])
