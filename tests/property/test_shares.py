"""No sender can change another's share of the result, whatever it sends: its own numbers enter with its own weight."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.errors import ProtocolError
from swarm.round.piles import Piles
from tests.unit.round.crew import RUN, roster_of

PEERS = 4
CHUNK = 0
LENGTH = RUN.grid.length(CHUNK)


def part(seed: int, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal(LENGTH)).astype(np.float32)


def mean_of(
    weights: tuple[int, ...], honest: list[np.ndarray], rogue: list[tuple[frozenset[int], bytes]]
) -> np.ndarray:
    """The mean when the last seat sends all of `rogue`, one frame after another, among the honest parts."""
    piles = Piles(RUN, roster_of(weights))
    for seat, x_n in enumerate(honest):
        for seats, data in rogue[seat :: len(honest)]:
            try:
                piles.add(CHUNK, seats, data)
            except ProtocolError:
                continue
        piles.add(CHUNK, {seat}, RUN.codec.encode(x_n))
    return piles.take(CHUNK)[2].astype(np.float64)


@settings(max_examples=60, deadline=None)
@given(
    weights=st.tuples(*[st.integers(1, 1000)] * PEERS),
    scales=st.tuples(st.floats(0, 9), st.floats(0, 9)),
    seed=st.integers(0, 100),
)
def test_what_a_sender_gives_enters_with_its_own_weight_only(
    weights: tuple[int, ...], scales: tuple[float, float], seed: int
) -> None:
    honest, me = [part(seed + n) for n in range(PEERS - 1)], frozenset({PEERS - 1})
    sent = [RUN.codec.encode(part(seed + 50, scale)) for scale in scales]
    means = [mean_of(weights, honest, [(me, data)]) for data in sent]
    share = weights[-1] / sum(weights)
    moved = share * (RUN.codec.decode(sent[0], LENGTH).astype(np.float64) - RUN.codec.decode(sent[1], LENGTH))
    assert np.abs(means[0] - means[1] - moved).max() < 1e-4
    bound = share * 2 * 1.05 * RUN.charter.reduce.max_rms
    assert np.sqrt(np.mean((means[0] - means[1]) ** 2)) <= bound


@settings(max_examples=60, deadline=None)
@given(
    weights=st.tuples(*[st.integers(1, 1000)] * PEERS),
    junk=st.lists(st.binary(max_size=40) | st.integers(0, 5).map(lambda seed: RUN.codec.encode(part(seed)))),
    seed=st.integers(0, 100),
)
def test_more_frames_bad_or_good_change_nothing_after_the_first(
    weights: tuple[int, ...], junk: list[bytes], seed: int
) -> None:
    honest, me = [part(seed + n) for n in range(PEERS - 1)], frozenset({PEERS - 1})
    first = (me, RUN.codec.encode(part(seed + 50)))
    alone = mean_of(weights, honest, [first])
    assert np.abs(alone - mean_of(weights, honest, [first, *((me, data) for data in junk)])).max() < 1e-6


def test_a_part_above_the_norm_bound_is_refused_and_one_within_it_is_not() -> None:
    largest = RUN.charter.reduce.max_rms
    for factor, is_refused in ((0.99, False), (1.0, False), (1.1, True), (100.0, True)):
        piles = Piles(RUN, roster_of((1, 1)))
        data = RUN.codec.encode(np.full(LENGTH, factor * largest, np.float32))
        try:
            assert piles.add(CHUNK, {1}, data) and not is_refused
        except ProtocolError as error:
            assert is_refused and "norm bound" in str(error)
        assert piles.take(CHUNK)[0] == (frozenset() if is_refused else {1})
