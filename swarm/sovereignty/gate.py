"""The gate judges what an update means before a byte of it leaves: label, recipients' regions, numbers in range.

It judges meaning; the audited transport (swarm.net.audited) records bytes. The gate does not know how frames are sent,
and nothing else in the program can make a `Permit`.

Rules, in order:
  1. `private` data: nothing derived from it leaves.
  2. An update with a NaN or an infinity in it, or with a chunk above the charter's norm bound, does not leave.
  3. A single update crosses a border only when the charter's `min_contributors` is 1 and its data is `open`. A sum of
     one is a single update: where the charter lets it cross, other data does not go into sums that might.
  4. An aggregate crosses a border only when it holds at least `min_contributors` members, or nobody: then it is zeros.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from swarm.identity.peer_id import PeerId
from swarm.sovereignty import permit as permits
from swarm.sovereignty.labels import Label
from swarm.sovereignty.permit import PROTOCOL_KINDS, Kind, Permit
from swarm.vector.bounds import MAX_MAGNITUDE
from swarm.vector.grid import Grid


@dataclass(frozen=True)
class Denied:
    """Nothing leaves. `code` is stable, `reason` is for people."""

    code: str
    reason: str


class Gate:
    """One peer's gate, under its policy's strictest label and the charter's border rule."""

    def __init__(self, *, region: str, label: Label, min_contributors: int) -> None:
        self._region = region
        self._label = label
        self._min_contributors = min_contributors
        self.standing = self._permit("protocol", PROTOCOL_KINDS, None)
        """For frames that carry neither an update nor a fresh aggregate."""

    def check_update(
        self,
        *,
        round_number: int,
        update_N: np.ndarray,
        grid: Grid,
        max_rms: float,
        recipients: Mapping[PeerId, str],
        regions: Collection[str],
    ) -> Permit | Denied:
        """Whether this peer's own update may go to `recipients` (peer id -> region).

        `update_N` is float32 [N], residual included: exactly what will be encoded. `max_rms` bounds the root mean
        square of each of its chunks. `regions` are those of the whole round: sums go to them.
        """
        if self._label is Label.PRIVATE:
            return Denied("private_data", "the data is labelled private and no privacy tier allows it to leave")
        largest = largest_rms(update_N, grid)
        if not largest <= max_rms:  # a NaN is not
            if not np.abs(update_N).max() <= MAX_MAGNITUDE:
                return Denied(
                    "out_of_range", "the update holds a NaN, an infinity or a number above 2**100: did it diverge?"
                )
            return Denied(
                "norm_bound",
                f"a chunk of the update has a root mean square of {largest:.3g}, the charter allows {max_rms:g} "
                "(reduce.max_rms): did it diverge?",
            )
        abroad = sorted({region for region in recipients.values() if region != self._region})
        if abroad and self._min_contributors > 1:
            return Denied(
                "single_update_would_cross",
                f"single updates may not leave region {self._region} (min_contributors = {self._min_contributors}), "
                f"and this round's members are also in {', '.join(abroad)}",
            )
        others = sorted(set(regions) - {self._region})
        if others and self._min_contributors == 1 and self._label is not Label.OPEN:
            return Denied(
                "label_forbids_crossing",
                f"the data is labelled {self._label}, so its single update may not leave region {self._region}; under "
                f"min_contributors = 1 a sum of one may, and this round's members are also in {', '.join(others)}",
            )
        return self._permit(f"update/{round_number}", frozenset({Kind.UPDATE}), frozenset(recipients))

    def check_aggregate(self, *, members: int, recipient: PeerId, recipient_region: str) -> Permit | Denied:
        """Whether an aggregate of `members` distinct members may go to one peer."""
        if recipient_region != self._region and 0 < members < self._min_contributors:
            return Denied(
                "aggregate_too_small",
                f"an aggregate of {members} members may not leave region {self._region} "
                f"(min_contributors = {self._min_contributors})",
            )
        return self._permit(f"aggregate/{members}", frozenset({Kind.RESULT, Kind.SUM}), frozenset({recipient}))

    @staticmethod
    def _permit(id: str, kinds: frozenset[Kind], peers: frozenset[PeerId] | None) -> Permit:
        return Permit(permits._GATE_TOKEN, id, kinds, peers)  # pyright: ignore[reportPrivateUsage]


def largest_rms(update_N: np.ndarray, grid: Grid) -> float:
    """The largest root mean square of a chunk; NaN or infinity if a chunk's sum of squares is."""
    largest = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for chunk in range(grid.chunks):
            x_n = update_N[grid.bounds(chunk)]
            mean_square = float(np.dot(x_n, x_n)) / x_n.size
            if not mean_square <= largest:
                largest = mean_square
                if not math.isfinite(largest):
                    break
    return math.sqrt(largest) if largest >= 0 else math.nan
