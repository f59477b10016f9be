"""Remembers what the latest few documents of each author were found to be.

A signature need not be verified twice. A memory that counts documents alone keeps thousands of those that nobody will
show again before it forgets the first; here an author's new document takes the place of its old one, so that memory
grows with peers and not with rounds.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

R = TypeVar("R")


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
        self._authors = authors
        self._each = each
        self._found: OrderedDict[str, OrderedDict[Hashable, R]] = OrderedDict()

    def __call__(self, author: str, *args: Hashable) -> R:
        mine = self._found.get(author)
        if mine is None:
            mine = self._found[author] = OrderedDict()
            if len(self._found) > self._authors:
                self._found.popitem(last=False)
        self._found.move_to_end(author)
        if args in mine:
            mine.move_to_end(args)
            return mine[args]
        found = mine[args] = self._judge(*args)
        if len(mine) > self._each:
            mine.popitem(last=False)
        return found
