"""The gate judges what an update means before a byte of it leaves: label, recipients' regions, numbers in range.

It judges meaning; the audited transport (swarm.net.audited) records bytes. The gate does not know how frames are sent,
and nothing else in the program can make a `Permit`.

Rules, in order:
  0. Data whose `uses` do not name the Shared Base, that is under a licence which the charter does not accept, or that
     demands an isolation or a protection which is not there: nothing leaves.
  1. `private` data: nothing derived from it leaves, unless its policy names a protection, and that is in force.
  2. An update with a NaN or an infinity in it, or with a chunk above the charter's norm bound, does not leave.
  3. A single update crosses a border only when the charter's `min_contributors` is 1 and its data is `open`. A sum of
     one is a single update: where the charter lets it cross, other data does not go into sums that might. An update
     that is masked among enough members (swarm.round.secure) is no single update to whoever gets it.
  4. An aggregate crosses a border only when it holds at least `min_contributors` members, or nobody: then it is zeros.
     What may not cross goes through no relay abroad either, though a relay could not read it.
  5. A word on a candidate base (`quality` votes) goes to those who take part, unless the held-out data is not for
     evaluation, under a protection, or `private` and its owner has not let votes out. It is one bit; by how many per
     cent the loss has changed is told only where the data is `open`.
  6. Who watches and takes no part gets records and published figures: in members' runs with a passport only, and no
     loss where the data is `private`.
  7. A metrics service outside the run gets this peer's own figures if the policy names its address, and a loss only of
     `open` data that is under no protection.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from swarm.charter.rules import SECURE_MEMBERS
from swarm.identity.peer_id import PeerId
from swarm.isolation.levels import NONE, is_enough
from swarm.sovereignty import permit as permits
from swarm.sovereignty.decisions import Decision
from swarm.sovereignty.labels import Label
from swarm.sovereignty.lattice import Restrictions, unaccepted
from swarm.sovereignty.permit import PROTOCOL_KINDS, Kind, Permit
from swarm.sovereignty.privacy import Budget, Receipt, judge
from swarm.sovereignty.reasons import Reason
from swarm.sovereignty.uses import Privacy, Use
from swarm.vector.bounds import MAX_MAGNITUDE
from swarm.vector.grid import Grid


@dataclass(frozen=True)
class Denied:
    """Nothing leaves. `code` is stable, `reason` is for people, `policy` is the digest of the one that was followed."""

    code: Reason
    reason: str
    policy: str = ""


@dataclass(frozen=True)
class InForce:
    """A policy, as far as it binds what this peer trains on."""

    digest: str
    """Hex SHA-256 (`Policy.digest`)."""
    restrictions: Restrictions
    """Of all the data together."""
    figures_to: frozenset[str] = frozenset()
    """Addresses of metrics services outside the run."""


class Gate:
    """One peer's gate, under its policy's strictest label and the charter's border rule."""

    def __init__(
        self,
        *,
        region: str,
        label: Label,
        min_contributors: int,
        policy: InForce | None = None,
        budget: Budget | None = None,
        decided: Callable[[Decision], None] | None = None,
        held_out: Restrictions | None = None,
    ) -> None:
        """`policy` binds beyond the label; without one the label alone decides, as it must before there is any data.
        `held_out` binds what candidate bases are scored on, where that is other data than what is trained on.

        With a `budget` every update needs a receipt within it. `decided` is told of each decision before it is acted
        on.
        """
        self._region = region
        self._label = label
        self._min_contributors = min_contributors
        self._policy = policy or InForce("", Restrictions(label=label, votes=label is not Label.PRIVATE))
        assert self._policy.restrictions.label is label, "one label, said twice"
        self._budget = budget
        self._decided = decided
        self._held_out = held_out
        self._licences: Collection[str] = ()
        self._protections = frozenset[Privacy]()
        self._isolation = NONE
        self._last_denied: Decision | None = None
        """Of an aggregate: recorded once a round, and not for every chunk."""
        self.standing = self._permit("protocol", PROTOCOL_KINDS, None)
        """For frames that carry neither an update nor a fresh aggregate."""

    def protect(self, by: Privacy) -> None:
        """Says that a protection is in force from now on, for everything this gate will let out.

        Who says so must be what gives it: the charter's aggregation, or the trainer's own receipt.
        """
        self._protections |= {by}

    def follow(self, *, min_contributors: int, licences: Collection[str] = ()) -> None:
        """Goes by the border rule, and the licences accepted, as the charter in force has them. The policy is the
        member's own and stays."""
        self._min_contributors = min_contributors
        self._licences = licences

    def isolated(self, level: str) -> None:
        """Says how far the trainer is isolated, as its launcher has reported it; until then, not at all."""
        self._isolation = level

    def check_update(
        self,
        *,
        round_number: int,
        update_N: np.ndarray,
        grid: Grid,
        max_rms: float,
        recipients: Mapping[PeerId, str],
        regions: Collection[str],
        basis: str = "",
        receipt: Receipt | None = None,
        masked_among: int = 0,
    ) -> Permit | Denied:
        """Whether this peer's own update may go to `recipients` (peer id -> region).

        `update_N` is float32 [N], residual included: exactly what will be encoded. `max_rms` bounds the root mean
        square of each of its chunks. `regions` are those of the whole round: sums go to them. `basis` says which
        attempt it is for (`decisions.basis_of`), for the record of this decision. `masked_among` distinct members sum
        it under masks, this one included; 0 if its owners read it.
        """
        denied = self._unpaid(receipt) or self._refusal(update_N, grid, max_rms)
        if denied is None and masked_among < max(SECURE_MEMBERS, self._min_contributors):
            denied = self._border(recipients, regions)
        self._record("update", round_number, denied, basis)
        if denied is not None:
            return denied
        stays_in = self._region if self._min_contributors > 1 else ""
        return self._permit(f"update/{round_number}", frozenset({Kind.UPDATE}), frozenset(recipients), stays_in)

    def keep(
        self, *, round_number: int, update_N: np.ndarray, grid: Grid, max_rms: float, receipt: Receipt | None
    ) -> Denied | None:
        """Why this peer's own update may go to nobody at all, which is recorded; None if it depends on who gets it.

        For those who say in advance what they give to a round. The arguments are `check_update`'s.
        """
        denied = self._unpaid(receipt) or self._refusal(update_N, grid, max_rms)
        if denied is not None:
            self._record("update", round_number, denied)
        return denied

    def _unpaid(self, receipt: Receipt | None) -> Denied | None:
        """Why the trainer's receipt for differential privacy does not do, if one is needed."""
        wrong = None if self._budget is None else judge(receipt, self._budget)
        return None if wrong is None else self._deny(*wrong)

    def _refusal(
        self,
        update_N: np.ndarray,
        grid: Grid,
        max_rms: float,
    ) -> Denied | None:
        bound = self._policy.restrictions
        if Use.SHARED_BASE not in bound.uses:
            return self._deny(
                Reason.PURPOSE_MISMATCH,
                f"the policy allows {', '.join(sorted(bound.uses)) or 'nothing'}, not {Use.SHARED_BASE}",
            )
        refused = licence_fault(bound, self._licences)
        if refused is not None:
            return self._deny(Reason.LICENCE_NOT_ACCEPTED, refused)
        if not is_enough(self._isolation, bound.isolation):
            return self._deny(
                Reason.ISOLATION_TOO_LOW,
                f'the policy demands isolation "{bound.isolation}", the trainer has reported "{self._isolation}"',
            )
        given = self._protections if self._budget is None else self._protections | {Privacy.DP}
        missing = sorted(bound.privacy - given)
        if missing:
            return self._deny(
                Reason.PRIVACY_MISSING, f"the policy demands {' and '.join(missing)}, which is not in force here"
            )
        if self._label is Label.PRIVATE and not bound.privacy:
            return self._deny(
                Reason.PRIVATE_DATA, "the data is labelled private and no privacy tier allows it to leave"
            )
        largest = largest_rms(update_N, grid)
        if not largest <= max_rms:  # a NaN is not
            if not np.abs(update_N).max() <= MAX_MAGNITUDE:
                return self._deny(
                    Reason.OUT_OF_RANGE, "the update holds a NaN, an infinity or a number above 2**100: did it diverge?"
                )
            return self._deny(
                Reason.NORM_BOUND,
                f"a chunk of the update has a root mean square of {largest:.3g}, the charter allows {max_rms:g} "
                "(reduce.max_rms): did it diverge?",
            )
        return None

    def _border(self, recipients: Mapping[PeerId, str], regions: Collection[str]) -> Denied | None:
        """Why a single update that can be read may not go there."""
        abroad = sorted({region for region in recipients.values() if region != self._region})
        if abroad and self._min_contributors > 1:
            return self._deny(
                Reason.SINGLE_UPDATE_WOULD_CROSS,
                f"single updates may not leave region {self._region} (min_contributors = {self._min_contributors}), "
                f"and this round's members are also in {', '.join(abroad)}",
            )
        others = sorted(set(regions) - {self._region})
        if others and self._min_contributors == 1 and self._label is not Label.OPEN:
            return self._deny(
                Reason.LABEL_FORBIDS_CROSSING,
                f"the data is labelled {self._label}, so its single update may not leave region {self._region}; under "
                f"min_contributors = 1 a sum of one may, and this round's members are also in {', '.join(others)}",
            )
        return None

    def withhold(self, code: Reason, reason: str, *, round_number: int) -> Denied:
        """Records that an update stays here for a reason that the round has found before the gate was asked."""
        denied = self._deny(code, reason)
        self._record("update", round_number, denied)
        return denied

    def check_aggregate(
        self, *, members: int, recipient: PeerId, recipient_region: str, round_number: int = 0
    ) -> Permit | Denied:
        """Whether an aggregate of `members` distinct members may go to one peer."""
        if recipient_region != self._region and 0 < members < self._min_contributors:
            denied = self._deny(
                Reason.AGGREGATE_TOO_SMALL,
                f"an aggregate of {members} members may not leave region {self._region} "
                f"(min_contributors = {self._min_contributors})",
            )
            self._record("aggregate", round_number, denied)
            return denied
        stays_in = self._region if 0 < members < self._min_contributors else ""
        return self._permit(
            f"aggregate/{members}", frozenset({Kind.RESULT, Kind.SUM}), frozenset({recipient}), stays_in
        )

    def check_verdict(self, *, round_number: int) -> Permit | Denied:
        """Whether this peer's word on a round's candidate base may go to those who take part; on record like an update.

        `may_tell_change` says how much it may say.
        """
        bound = self._scored_on
        denied = None
        if Use.EVALUATION not in bound.uses:
            denied = self._deny(
                Reason.PURPOSE_MISMATCH, f"the policy allows {', '.join(sorted(bound.uses))}, not {Use.EVALUATION}"
            )
        elif bound.privacy:
            denied = self._deny(
                Reason.PRIVACY_MISSING, f"no vote is under {' and '.join(sorted(bound.privacy))}, as its data must be"
            )
        elif not bound.votes:
            denied = self._deny(
                Reason.PRIVATE_DATA, "the data it was scored on is private, and its policy lets no vote out (votes)"
            )
        elif not is_enough(self._isolation, bound.isolation):
            denied = self._deny(
                Reason.ISOLATION_TOO_LOW,
                f'the policy demands isolation "{bound.isolation}", the trainer has reported "{self._isolation}"',
            )
        allowed = Reason.ALLOWED if self.may_tell_change else Reason.VERDICT_ONLY
        self._record("verdict", round_number, denied, allowed=allowed)
        return denied or self._permit(f"verdict/{round_number}", frozenset({Kind.VERDICT}), None)

    @property
    def may_tell_change(self) -> bool:
        """Whether a verdict may say by how much the loss on the held-out data has changed."""
        return self._scored_on.label is Label.OPEN and not self._scored_on.privacy

    @property
    def _scored_on(self) -> Restrictions:
        """What binds the data that this peer's verdicts are about."""
        if self._held_out is not None:
            return self._held_out
        bound = self._policy.restrictions
        return bound if self._budget is None else replace(bound, privacy=bound.privacy | {Privacy.DP})

    def check_observation(self, *, recipient: PeerId, is_admitted: bool, admission: str) -> Permit | Denied:
        """Whether records and this peer's published figures may go to somebody who takes no part."""
        if admission == "member" and not is_admitted:
            return self._deny(
                Reason.NOT_ADMITTED, "this run shows its records and figures to holders of a passport only"
            )
        return self._permit("observation", frozenset({Kind.OBSERVED}), frozenset({recipient}))

    def check_figures(self, *, address: str) -> Permit | Denied:
        """Whether this peer's own figures may go to a metrics service outside the run; on record, once for each."""
        denied = None
        if address not in self._policy.figures_to:
            named = ", ".join(sorted(self._policy.figures_to)) or "none"
            denied = self._deny(
                Reason.SERVICE_NOT_NAMED, f"no figures may go to {address}: the policy's figures_to names {named}"
            )
        self._record("figures", 0, denied)
        return denied or self._permit(f"figures/{address}", frozenset({Kind.FIGURES}), frozenset({address}))

    @property
    def may_tell_loss_outside(self) -> bool:
        """Whether figures for a service outside the run may hold the training loss."""
        bound = self._policy.restrictions
        return bound.label is Label.OPEN and not bound.privacy and self._budget is None

    @property
    def may_tell_loss(self) -> bool:
        """Whether this peer's training loss may be published: it is derived from the data."""
        return self._label is not Label.PRIVATE and self._budget is None

    def _deny(self, code: Reason, reason: str) -> Denied:
        return Denied(code, reason, self._policy.digest)

    def _record(
        self,
        subject: str,
        round_number: int,
        denied: Denied | None,
        basis: str = "",
        allowed: Reason = Reason.ALLOWED,
    ) -> None:
        code = allowed if denied is None else denied.code
        decision = Decision(
            "permit" if denied is None else "denied",
            subject,
            round_number,
            code,
            self._policy.digest,
            basis,
            "" if denied is None else denied.reason,
        )
        if self._decided is None or decision == self._last_denied:
            return
        if subject == "aggregate":
            self._last_denied = decision
        self._decided(decision)

    @staticmethod
    def _permit(id: str, kinds: frozenset[Kind], peers: frozenset[str] | None, region: str = "") -> Permit:
        return Permit(permits._GATE_TOKEN, id, kinds, peers, region)  # pyright: ignore[reportPrivateUsage]


def licence_fault(bound: Restrictions, accepted: Collection[str]) -> str | None:
    """Why data under these licences may not be trained on in a run that accepts some; None if it may."""
    if not accepted:
        return None
    others = unaccepted(bound.licences, accepted) if bound.licences else ["no licence"]
    if not others:
        return None
    return f"the data is under {' and '.join(others)}, and this run's charter accepts {', '.join(sorted(accepted))}"


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
