"""What a coalition learns from a secure sum: the sum of the others, and nothing more.

The proof is by exhibition. For every coalition of at most n - 2 members and every way a sum can end, two different sets
of honest updates with one sum are shown to give the coalition the *identical* view, word for word, under masks that are
as likely: what it sees cannot tell the two apart. The streams of honest pairs and honest self-masks are the unknowns;
they are looked up by key, so "other masks" is another table. The counter-examples take one protection away each, and
compute the victim's update from what the coalition then sees.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pytest

from swarm.vector import masks
from swarm.vector.secure_codes import Words

ELEMENTS = 6
WEIGHTS = (1, 2, 1, 3, 1)


@dataclass
class Table:
    """Streams by key: drawn once, or written over with what a proof needs."""

    seed: int
    streams: dict[bytes, Words] = field(default_factory=dict[bytes, Words])

    def __call__(self, key: bytes, elements: int) -> Words:
        if key not in self.streams:
            number = int.from_bytes(key, "little") + 1000 * self.seed
            self.streams[key] = np.random.default_rng(number).integers(0, 2**16, elements).astype(np.uint16)
        return self.streams[key]

    def shifted(self, by: dict[bytes, Words]) -> "Table":
        other = Table(self.seed, dict(self.streams))
        for key, words in by.items():
            other.streams[key] = self(key, ELEMENTS) + words
        return other


def pair_key(group: int, chunk: int, a: int, b: int) -> bytes:
    return bytes([1, group, chunk, min(a, b), max(a, b)])


def own_key(group: int, chunk: int, seat: int) -> bytes:
    return bytes([2, group, chunk, seat, 0])


@dataclass(frozen=True)
class Sum:
    """One attempt: chunk j is owned by seat j."""

    members: tuple[int, ...]
    group: int = 0
    is_revealed: bool = True
    has_pairs: bool = True
    has_own: bool = True

    def part(self, codes: Words, seat: int, chunk: int, table: Table) -> Words:
        pairs = {o: pair_key(self.group, chunk, seat, o) for o in self.members if o != seat and self.has_pairs}

        def drawn(key: bytes, elements: int) -> Words:
            is_own = key == own_key(self.group, chunk, seat)
            return np.zeros(elements, np.uint16) if is_own and not self.has_own else table(key, elements)

        own = own_key(self.group, chunk, seat)
        return masks.mask(codes.copy(), WEIGHTS[seat], seat=seat, pairs=pairs, own=own, stream=drawn)

    def view(self, codes: dict[int, Words], coalition: Sequence[int], table: Table) -> dict[str, bytes]:
        """Everything that these members see of each other member: parts, streams they share, self-masks, results."""
        seen: dict[str, bytes] = {}
        for chunk in self.members:
            for seat in self.members:
                if chunk in coalition:
                    seen[f"part {seat} of {chunk}"] = self.part(codes[seat], seat, chunk, table).tobytes()
                if self.is_revealed or seat in coalition:
                    seen[f"self {seat} of {chunk}"] = table(own_key(self.group, chunk, seat), ELEMENTS).tobytes()
                for other in set(coalition) - {seat}:
                    key = pair_key(self.group, chunk, seat, other)
                    seen[f"pair {seat} {other} of {chunk}"] = table(key, ELEMENTS).tobytes()
            if self.is_revealed:
                seen[f"result {chunk}"] = self.total(codes, chunk, table).tobytes()
        return seen

    def total(self, codes: dict[int, Words], chunk: int, table: Table) -> Words:
        total = np.zeros(ELEMENTS, np.uint16)
        for seat in self.members:
            masks.add(total, self.part(codes[seat], seat, chunk, table))
        keys = {seat: own_key(self.group, chunk, seat) for seat in self.members if self.has_own}
        return masks.unmask(total, keys, stream=table)


def updates(seed: int, members: Sequence[int]) -> dict[int, Words]:
    random = np.random.default_rng(seed)
    return {seat: random.integers(0, 256, ELEMENTS).astype(np.uint16) for seat in members}


def coalitions(members: Sequence[int]) -> list[tuple[int, ...]]:
    return [found for size in range(len(members) - 1) for found in combinations(members, size)]


def moved(codes: dict[int, Words], giver: int, taker: int) -> dict[int, Words]:
    """Other updates of the same weighted sum: what one has more, another has less."""
    step = np.arange(1, ELEMENTS + 1).astype(np.uint16)
    taken = {
        giver: codes[giver] + np.uint16(WEIGHTS[taker]) * step,
        taker: codes[taker] - np.uint16(WEIGHTS[giver]) * step,
    }
    return codes | taken


@pytest.mark.parametrize("n", [3, 4, 5])
def test_no_coalition_below_all_but_one_learns_more_than_the_sum(n: int) -> None:
    members = tuple(range(n))
    sums = Sum(members)
    for coalition in coalitions(members):
        honest = [seat for seat in members if seat not in coalition]
        for giver, taker in combinations(honest, 2):
            codes, table = updates(n, members), Table(1)
            before = sums.view(codes, coalition, table)
            other = moved(codes, giver, taker)
            # w dx leaves the giver's part, and its stream with the taker takes it up: + for the smaller seat, - there.
            delta = np.uint16(WEIGHTS[giver]) * (codes[giver] - other[giver])
            shift = {pair_key(0, chunk, giver, taker): delta for chunk in members}
            assert sums.view(other, coalition, table.shifted(shift)) == before
            assert (other[giver] != codes[giver]).any()


@pytest.mark.parametrize("n", [4, 5])
def test_a_false_claim_that_somebody_vanished_tells_nothing_of_its_update(n: int) -> None:
    """The sum of all is not opened; the others, with the same updates, make another one without the victim."""
    members = tuple(range(n))
    for coalition in coalitions(members):
        honest = [seat for seat in members if seat not in coalition]
        if len(honest) < 3:
            continue  # the second sum would have but one honest member in it
        victim = honest[0]
        first = Sum(members, group=0, is_revealed=False)
        second = Sum(tuple(seat for seat in members if seat != victim), group=1)
        codes, table = updates(n, members), Table(2)
        before = first.view(codes, coalition, table) | {
            f"2 {k}": v for k, v in second.view(codes, coalition, table).items()
        }
        other = codes | {victim: codes[victim] + np.uint16(77)}
        delta = np.uint16(WEIGHTS[victim]) * (codes[victim] - other[victim])
        shifted = table.shifted({own_key(0, chunk, victim): delta for chunk in members})
        after = first.view(other, coalition, shifted) | {
            f"2 {k}": v for k, v in second.view(other, coalition, shifted).items()
        }
        assert after == before


def seen_words(view: dict[str, bytes], name: str) -> Words:
    return np.frombuffer(view[name], np.uint16)


def test_without_self_masks_a_false_claim_gives_the_victims_update_away() -> None:
    members, owner, victim = (0, 1, 2, 3), 0, 3
    codes, table = updates(4, members), Table(3)
    first = Sum(members, group=0, is_revealed=False, has_own=False)
    second = Sum((0, 1, 2), group=1, has_own=False)
    view = first.view(codes, (owner,), table)
    total = sum_of(seen_words(view, f"part {seat} of {owner}") for seat in members)
    without = second.total(codes, owner, table)
    assert ((total - without) == np.uint16(WEIGHTS[victim]) * codes[victim]).all()


def test_without_pairwise_masks_an_owner_reads_a_part_once_self_masks_are_out() -> None:
    members, owner, victim = (0, 1, 2, 3), 0, 2
    codes, table = updates(5, members), Table(4)
    view = Sum(members, has_pairs=False).view(codes, (owner,), table)
    read = seen_words(view, f"part {victim} of {owner}") - seen_words(view, f"self {victim} of {owner}")
    assert (read == np.uint16(WEIGHTS[victim]) * codes[victim]).all()


def test_with_keys_used_twice_an_owner_sees_how_an_update_changed() -> None:
    members, owner, victim = (0, 1, 2, 3), 0, 1
    one, two, table = updates(6, members), updates(7, members), Table(5)
    sums = Sum(members)
    views = [sums.view(codes, (owner,), table) for codes in (one, two)]
    name = f"part {victim} of {owner}"
    change = seen_words(views[1], name) - seen_words(views[0], name)
    assert (change == np.uint16(WEIGHTS[victim]) * (two[victim] - one[victim])).all()


def test_all_but_one_together_always_learn_the_last_one() -> None:
    """The bound is tight: no protocol can hide what a sum and all but one of its terms tell."""
    members, victim = (0, 1, 2, 3), 2
    codes, table = updates(8, members), Table(6)
    view = Sum(members).view(codes, (0, 1, 3), table)
    rest = sum_of(np.uint16(WEIGHTS[seat]) * codes[seat] for seat in (0, 1, 3))
    assert (seen_words(view, "result 0") - rest == np.uint16(WEIGHTS[victim]) * codes[victim]).all()


def sum_of(words: Iterable[Words]) -> Words:
    total = np.zeros(ELEMENTS, np.uint16)
    for each in words:
        masks.add(total, each)
    return total
