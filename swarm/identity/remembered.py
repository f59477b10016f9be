"""Remembers what the latest few documents of each author were found to be.

A signature need not be verified twice. A memory that counts documents alone keeps thousands of those that nobody will
show again before it forgets the first; here an author's new document takes the place of its old one, and an author
that nobody asks about while the others are asked about again and again is forgotten. So memory grows with the peers
there are, neither with rounds nor with those that ever were.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

R = TypeVar("R")

_PATIENCE = 8
"""An author is forgotten once each other one could have been asked about so many times in between."""
_LEAST_PATIENCE = 1024
"""Questions, however few authors there are."""


@dataclass
class _Author(Generic[R]):
    found: OrderedDict[Hashable, R] = field(default_factory=OrderedDict[Hashable, R])
    asked_at: int = 0
    """Which question was the last about it."""


class Remembered(Generic[R]):
    """A pure function of hashable arguments, called with the author first: `remembered(author, *arguments)`."""

    def __init__(self, judge: Callable[..., R], *, authors: int, each: int) -> None:
        """
        Args:
            judge: the function; what it raises is not remembered.
            authors: most authors, the one longest unheard forgotten first.
            each: latest different arguments of one author.
        """
        self._judge = judge
        self._most = authors
        self._each = each
        self._authors: OrderedDict[str, _Author[R]] = OrderedDict()
        """The one asked about last comes last."""
        self._asked = 0

    def __call__(self, author: str, *args: Hashable) -> R:
        self._asked += 1
        mine = self._authors.get(author)
        if mine is None:
            mine = self._authors[author] = _Author[R]()
        mine.asked_at = self._asked
        self._authors.move_to_end(author)
        self._forget()
        if args in mine.found:
            mine.found.move_to_end(args)
            return mine.found[args]
        found = mine.found[args] = self._judge(*args)
        if len(mine.found) > self._each:
            mine.found.popitem(last=False)
        return found

    def __len__(self) -> int:
        """Authors remembered."""
        return len(self._authors)

    def _forget(self) -> None:
        patience = max(_LEAST_PATIENCE, _PATIENCE * len(self._authors))
        while True:
            oldest = next(iter(self._authors))
            is_gone = self._asked - self._authors[oldest].asked_at > patience
            if not is_gone and len(self._authors) <= self._most:
                return
            del self._authors[oldest]
