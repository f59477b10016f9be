"""What may leave a peer, per data set: four labels in one order, from `open` to `private`.

Labels only say how tight the restriction is. What each permits is decided in `gate.py`, where files get their
labels in `policy.py`.
"""

from collections.abc import Iterable
from enum import StrEnum


class Label(StrEnum):
    """Ordered by declaration: every label forbids at least what the ones before it forbid."""

    OPEN = "open"
    """May go anywhere."""
    CONTROLLED = "controlled"
    """Only aggregates cross a border."""
    SOVEREIGN = "sovereign"
    """Used inside its jurisdiction only; updates stay in the region, aggregates follow the charter's rule."""
    PRIVATE = "private"
    """Nothing derived from it leaves, unless the policy names a privacy tier that allows it."""

    @property
    def tightness(self) -> int:
        """0 for the loosest. (As strings the labels compare alphabetically, which means nothing.)"""
        return _ORDER.index(self)


_ORDER = tuple(Label)


def strictest(labels: Iterable[Label]) -> Label:
    """The label of what is made from all of them: restrictions only ever get tighter.

    Raises:
        ValueError: no labels; what was made from nothing has no label.
    """
    return max(labels, key=lambda label: label.tightness)
