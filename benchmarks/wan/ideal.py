"""How fast an all-reduce could be on given links, were there no headers, no latency and no computing. Pure arithmetic.

Peer `i` owns the share w_i of the vector. It sends everybody else's shares once, (1 - w_i) N, and its own result to
n - 1 others, w_i (n - 1) N: in all N [1 + (n - 2) w_i]. It receives as much.
"""

from collections.abc import Sequence

_BITS = 8


def even_s(*, encoded_bytes: int, peers: int, rate_bps: float) -> float:
    """Equal links, equal shares: 2 (n - 1) / n x N / rate."""
    return 2 * (peers - 1) / peers * encoded_bytes * _BITS / rate_bps


def best_split_s(*, encoded_bytes: int, rates_bps: Sequence[float]) -> float:
    """The least time over all ways to share ownership out: min over w of max_i N [1 + (n - 2) w_i] / b_i.

    Two bounds hold for every split: nobody sends less than N, and all together send 2 (n - 1) N. The larger one is
    reached: at that time t every w_i = (t b_i / N - 1) / (n - 2) is at least 0, and they sum to at least 1.
    """
    peers = len(rates_bps)
    slowest = 1 / min(rates_bps)
    all_together = 2 * (peers - 1) / sum(rates_bps)
    return max(slowest, all_together) * encoded_bytes * _BITS


def split_s(*, encoded_bytes: int, rates_bps: Sequence[float], shares: Sequence[float]) -> float:
    """The time a given split takes."""
    peers = len(rates_bps)
    return max(
        encoded_bytes * _BITS * (1 + (peers - 2) * share) / rate for share, rate in zip(shares, rates_bps, strict=True)
    )


def border_s(*, encoded_bytes: int, regions: int, rate_bps: float) -> float:
    """What must cross each region's border, at its rate: the all-reduce between regions as if each were one peer."""
    return even_s(encoded_bytes=encoded_bytes, peers=regions, rate_bps=rate_bps)
