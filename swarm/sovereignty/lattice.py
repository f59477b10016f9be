"""What restricts data and everything made from it, as a lattice: what is made from two things is bound by both.

`join` is the only way down a pipeline, and it never loosens: residencies intersect, uses intersect, licence terms and
protections add up, the stricter label and the higher isolation win. It is associative, commutative and idempotent, and
monotone: more inputs, or stricter ones, never give a looser output. Nothing here decides what may leave (`gate.py`).

Protections add up, since none contains another: differential privacy does not hide an update from its recipients, and
secure aggregation bounds nothing that can be learnt from the sum. What is made from data under both is under both.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Protocol

from swarm.isolation.levels import LADDER, NONE
from swarm.sovereignty.labels import Label, strictest
from swarm.sovereignty.uses import Privacy, Use


@dataclass(frozen=True)
class Restrictions:
    """What binds a data set, an update, a model. The default binds nothing."""

    label: Label = Label.OPEN
    residency: frozenset[str] | None = None
    """Jurisdictions in which it may be used; None for everywhere, empty for nowhere."""
    uses: frozenset[Use] = frozenset(Use)
    licences: frozenset[str] = frozenset()
    """The terms of every one of these hold."""
    isolation: str = NONE
    """Level below which it is not worked on (`swarm.isolation.levels`)."""
    privacy: frozenset[Privacy] = frozenset()
    """Protections beyond licence gates that what is derived from it needs before it leaves."""
    votes: bool = True
    """Whether a word on a candidate base that was scored on it may leave."""

    def join(self, other: "Restrictions") -> "Restrictions":
        """What binds anything made from both."""
        return Restrictions(
            label=strictest((self.label, other.label)),
            residency=_both(self.residency, other.residency),
            uses=self.uses & other.uses,
            licences=self.licences | other.licences,
            isolation=max(self.isolation, other.isolation, key=LADDER.index),
            privacy=self.privacy | other.privacy,
            votes=self.votes and other.votes,
        )

    def is_at_least(self, other: "Restrictions") -> bool:
        """Whether nothing that `other` forbids is allowed here: the order of the lattice."""
        return self.join(other) == self

    def may_be_used_in(self, jurisdiction: str) -> bool:
        return self.residency is None or jurisdiction in self.residency


def join_all(restrictions: Iterable[Restrictions]) -> Restrictions:
    """What binds anything made from all of them; from nothing, nothing does."""
    return reduce(Restrictions.join, restrictions, Restrictions())


def unaccepted(licences: Iterable[str], accepted: Iterable[str]) -> list[str]:
    """Which of some licences are not accepted; none accepted means all are. `A AND B` holds both, as in SPDX."""
    known = frozenset(accepted)
    terms = [(licence, licence.split(" AND ")) for licence in sorted(licences)]
    return [licence for licence, parts in terms if known and licence not in known and not known.issuperset(parts)]


class Labelled(Protocol):
    """A data set, as a policy file or a node's settings describe it."""

    @property
    def label(self) -> Label: ...
    @property
    def residency(self) -> str: ...
    @property
    def licence(self) -> str: ...
    @property
    def uses(self) -> tuple[Use, ...]: ...
    @property
    def privacy(self) -> Privacy: ...
    @property
    def votes(self) -> bool: ...


def restrictions_of(dataset: Labelled, isolation: str) -> Restrictions:
    """What binds a data set, under a policy that demands a level of isolation.

    Open and controlled data may be used everywhere; what is sovereign, or private, in its own jurisdiction only. A word
    on a candidate base is derived from what it was scored on: nothing masks it and no budget pays for it, so data under
    a protection gives none, and private data only if its owner says so.
    """
    is_bound = dataset.label.tightness >= Label.SOVEREIGN.tightness
    return Restrictions(
        label=dataset.label,
        residency=frozenset({dataset.residency}) if is_bound else None,
        uses=frozenset(dataset.uses),
        licences=frozenset({dataset.licence}),
        isolation=isolation,
        privacy=frozenset({dataset.privacy} - {Privacy.LICENCE}),
        votes=dataset.privacy is Privacy.LICENCE and (dataset.label is not Label.PRIVATE or dataset.votes),
    )


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other
