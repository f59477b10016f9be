"""Who reduces what under one roster: a tree of groups, and the owners of every chunk in each. Pure; no network here.

    peers of a region          form one group, or cohorts of at most 64 that form it one level further down
    regions                    form the root; with one region, or `levels = 1`, that region's group is the root

In a group of peers every chunk has a first owner and an order of heirs. An inner group takes its owners from its
children, the first child in turn by chunk; so whoever owns a chunk in a group also owns it in its own child of it. A
peer's part of a chunk goes to the owner in its group of peers, that owner's sum to the owner one level up, and the
root's owner makes the result.

How many chunks a peer owns follows from measured rates. With n peers a peer that owns the share w of N bytes sends and
receives N * (1 + (n - 2) * w) bytes; the shares that minimise the longest of these times have a closed form.
"""

import hashlib
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from statistics import median_low

from swarm.state.roster import Roster

MAX_GROUP_PEERS = 64
MAX_RATE_BPS = 1_000_000_000
"""Faster links count as this fast: then processors are the limit, and shares are even."""
_SAME_PERCENT = 115
"""Rates within 15 % of each other count as equal: less is the noise of measuring."""


@dataclass(frozen=True, eq=False)
class Group:
    """Peers (`children` is empty) or groups that reduce among themselves."""

    seats: frozenset[int]
    children: tuple["Group", ...] = ()
    able: tuple[int, ...] = ()
    """Of a group of peers: the seats that may own chunks: those that can be dialled, or the only one there is."""
    first: tuple[int, ...] = ()
    """Of a group of peers: the first owner's seat by chunk; empty if nobody in it can be dialled."""
    vector_bps: float | None = None
    """Of a group with unequal owners: how fast a whole vector would pass a link, were all of them to end together."""


class Plan:
    """The tree of one roster over a number of chunks. Seats are the roster's."""

    def __init__(self, roster: Roster, chunks: int, levels: int, least_members: int = 1) -> None:
        """`least_members` is what a region must stand for before what it gave may cross a border."""
        self._roster = roster
        self._chunks = chunks
        by_region: dict[str, list[int]] = {}
        for number, seat in enumerate(roster.seats):
            by_region.setdefault(seat.region if levels > 1 else "", []).append(number)
        regions = tuple(self._region(numbers) for _, numbers in sorted(by_region.items()))
        self.root = regions[0] if len(regions) == 1 else Group(frozenset(range(len(roster.seats))), regions)
        givers = {region: [n for n in seats if roster.seats[n].contributes] for region, seats in by_region.items()}
        small = [region for region, seats in givers.items() if not roster.may_cross(seats, least_members)]
        self._mute = frozenset(number for region in small for number in by_region[region])
        """Seats of regions too small to let anything out: with their own in it, a mean they made could go nowhere."""
        self._paths: dict[int, tuple[Group, ...]] = {}
        self._climb(self.root, ())
        self._cycle = max(1, *(len(path[0].able) for path in self._paths.values()))

    def owner(self, group: Group, chunk: int, failed: Set[int]) -> int | None:
        """Who owns a chunk in a group when the peers in `failed` cannot; None if nobody is left."""
        return next((seat for seat in self._owners(group, chunk) if seat not in failed), None)

    def upstream(self, seat: int, chunk: int, failed: Set[int]) -> int | None:
        """Where this seat's part or sum of a chunk goes; None if it is the owner in the root itself.

        Raises:
            LookupError: nobody is left who could own the chunk.
        """
        for group in self._paths[seat]:
            owner = self.owner(group, chunk, failed)
            if owner is not None and owner != seat:
                return owner
        if self.owner(self.root, chunk, failed) is None:
            raise LookupError("every peer that could own a chunk has failed")
        return None

    def scope(self, seat: int, chunk: int, failed: Set[int]) -> tuple[int, Group] | None:
        """The largest group in which this seat owns a chunk, and its level; None if it owns the chunk nowhere."""
        found = None
        for level, group in enumerate(self._paths[seat]):
            if self.owner(group, chunk, failed) != seat:
                break
            found = level, group
        return found

    def branch(self, seat: int, other: int) -> frozenset[int]:
        """The seats that `other` speaks for when it sends to `seat`: itself, or the group it may own chunks of."""
        mine = self._paths[seat]
        for group, inside in zip(self._paths[other][1:], self._paths[other], strict=False):
            if group in mine and inside not in mine:
                return inside.seats
        return frozenset((other,))

    @cached_property
    def summing_groups(self) -> tuple[frozenset[int], ...]:
        """The seats of each group of peers that has somebody to sum their parts."""
        return tuple(dict.fromkeys(path[0].seats for path in self._paths.values() if path[0].first))

    def neighbours(self, seat: int) -> frozenset[int]:
        """The seats in this seat's group of peers."""
        return self._paths[seat][0].seats

    def lane_rate_bps(self, seat: int, chunks: int) -> float | None:
        """What a lane needs that carries this many chunks inside the seat's group of peers, to end with the others.

        None if owners are equal: then links that are equally used share themselves out.
        """
        vector_bps = self._paths[seat][0].vector_bps
        return None if vector_bps is None else vector_bps * chunks / self._chunks

    @cached_property
    def depth(self) -> int:
        """Levels a part may have to climb."""
        return max(len(path) for path in self._paths.values())

    def _owners(self, group: Group, chunk: int) -> Iterator[int]:
        """Owners of a chunk in a group, the first and its heirs."""
        if not group.children:
            if group.first:
                yield group.first[chunk]
                place = group.able.index(group.first[chunk])
                heirs = group.able[place + 1 :] + group.able[:place]
                # Equal owners come round every len(able) chunks: the quotient shares out what one of them leaves.
                begin = chunk // len(group.able)
                for step in range(len(heirs)):
                    yield heirs[(begin + step) % len(heirs)]
            return
        # Whole cycles of owners take turns, so that no peer owns all of the chunks that its group is the first for.
        begin = chunk // self._cycle + self._roster.round
        turned = (group.children[(begin + step) % len(group.children)] for step in range(len(group.children)))
        for child in sorted(turned, key=lambda child: child.seats <= self._mute):
            yield from (owner for owner in self._owners(child, chunk) if self._roster.seats[owner].dialable)

    def _region(self, numbers: Sequence[int]) -> Group:
        cohorts = -(-len(numbers) // MAX_GROUP_PEERS)
        if cohorts == 1:
            return self._peers(numbers)
        seats = self._roster.seats
        dealt = sorted(numbers, key=lambda n: (not seats[n].dialable, _rank(self._roster.round, seats[n].peer)))
        return Group(frozenset(numbers), tuple(self._peers(sorted(dealt[first::cohorts])) for first in range(cohorts)))

    def _peers(self, numbers: Sequence[int]) -> Group:
        seats = self._roster.seats
        dialable = [number for number in numbers if seats[number].dialable]
        # Who gives nothing has no residual to carry what quantising a mean takes, and owns nothing if others can.
        # Alone in its group a peer owns its own chunks there, even if others could not reach it as an owner.
        alone = numbers if len(numbers) == 1 else ()
        able = tuple([number for number in dialable if seats[number].contributes] or dialable or alone)
        if not able:
            return Group(frozenset(numbers))
        rates_bps = [min(seats[number].up_bps, seats[number].down_bps) for number in able]
        weights = shares(rates_bps, len(numbers))
        turns = in_turn(weights, self._chunks)
        begin = self._roster.round
        first = tuple(able[turns[(chunk + begin) % self._chunks]] for chunk in range(self._chunks))
        vector_bps = None
        if len(set(weights)) > 1:
            known = [(weight, rate) for weight, rate in zip(weights, rates_bps, strict=True) if rate > 0]
            vector_bps = min(rate / (1 + (len(numbers) - 2) * weight / sum(weights)) for weight, rate in known)
        return Group(frozenset(numbers), (), able, first, vector_bps)

    def _climb(self, group: Group, above: tuple[Group, ...]) -> None:
        path = (group, *above)
        for child in group.children:
            self._climb(child, path)
        if not group.children:
            self._paths.update(dict.fromkeys(group.seats, path))


def shares(rates_bps: Sequence[int], peers: int) -> list[int]:
    """Integer shares of the chunks for owners with these rates (0: not known), among `peers` that send and receive.

    Minimises the largest (1 + (n - 2) w_i) / b_i over shares w that sum to 1: the slowest owners get none, the others
    w_i proportional to (n - 2 + k) b_i - B, where k is how many own something and B the sum of their rates.
    """
    known = sorted(min(rate, MAX_RATE_BPS) for rate in rates_bps if rate > 0)
    if not known or peers <= 2 or known[-1] * 100 <= known[0] * _SAME_PERCENT:
        return [1] * len(rates_bps)
    rates = [min(rate, MAX_RATE_BPS) if rate > 0 else median_low(known) for rate in rates_bps]
    total, owning = 0, 0
    for rate in sorted(rates, reverse=True):
        if owning and (peers - 2 + owning) * rate <= total:
            break
        total, owning = total + rate, owning + 1
    return [max(0, (peers - 2 + owning) * rate - total) for rate in rates]


def in_turn(weights: Sequence[int], turns: int) -> list[int]:
    """`turns` indices in which index i comes about weights[i] / sum(weights) of the time, evenly spread."""
    total = sum(weights)
    counts = [turns * weight // total for weight in weights]
    by_rest = sorted(range(len(weights)), key=lambda i: (-(turns * weights[i] % total), i))
    for index in by_rest[: turns - sum(counts)]:
        counts[index] += 1
    scale = 2**32
    places = [
        ((2 * turn + 1) * scale // (2 * count), index) for index, count in enumerate(counts) for turn in range(count)
    ]
    return [index for _, index in sorted(places)]


def _rank(round_number: int, peer: str) -> bytes:
    return hashlib.sha256(f"{round_number}/{peer}".encode()).digest()
