"""The outer step: how the shared base moves by the mean update of a round, in the same bits on every CPU.

Elementwise rules on slices, in place; a caller goes chunk by chunk and gets the same bits as for the whole
vector.

Why the bits agree everywhere: every operation is one numpy ufunc over float32 (multiply, add, subtract,
divide, square root), each of which IEEE 754 rounds correctly, so lane width, alignment and remainders cannot
show; as separate calls they are never fused into a multiply-add. Constants are computed in Python floats with
those same operations (never `pow`, which differs between C libraries) and rounded to float32 once.
"""

import math
from itertools import pairwise
from typing import Protocol

import numpy as np

from swarm.errors import TapestryError
from swarm.vector.grid import Vector

# Small enough that a tile of base, state, mean and scratch stays in the second-level cache.
_TILE_ELEMENTS = 32_768
_SUBNORMAL = np.array([1e-40], np.float32)


class OuterRule(Protocol):
    """An outer optimiser. Instances hold scratch memory and belong to one thread."""

    @property
    def vectors(self) -> int:
        """State vectors besides the base; all start as zeros."""
        ...

    def step(
        self,
        base_N: Vector,
        state_VN: tuple[Vector, ...],
        mean_N: Vector,
        round_number: int,
        into: tuple[Vector, ...] | None = None,
    ) -> None:
        """Moves `base_N` and `state_VN`, all slices of the same chunk, in place, or `into` (base, *state) beside them.

        The new base may take the memory of `mean_N`, which is only read otherwise. `round_number` counts from 1.
        Raises TapestryError if this thread flushes subnormal numbers to zero.
        """
        ...


class NesterovRule:
    """SGD with Nesterov momentum, DiLoCo's outer optimiser (arXiv 2311.08105).

    m = momentum * m + g
    base -= lr * (g + momentum * m)

    Without momentum there is no state.
    """

    def __init__(self, *, lr: float, momentum: float) -> None:
        _check_rate(lr)
        _check_decay("momentum", momentum)
        self.vectors = 1 if momentum else 0
        self._lr = np.float32(lr)
        self._momentum = np.float32(momentum)
        self._scratch = np.empty(_TILE_ELEMENTS, np.float32)

    def step(
        self,
        base_N: Vector,
        state_VN: tuple[Vector, ...],
        mean_N: Vector,
        round_number: int,
        into: tuple[Vector, ...] | None = None,
    ) -> None:
        new_base_N, *new_state_VN = into or (base_N, *state_VN)
        _check_slices(base_N, (*state_VN, new_base_N, *new_state_VN), mean_N, round_number)
        # A peer's own numpy error settings must not decide whether it takes the step.
        with np.errstate(all="ignore"):
            _refuse_flushing()
            for tile in _tiles(base_N.size):
                g_n = mean_N[tile]
                s_n = self._scratch[: g_n.size]
                if self.vectors:
                    m_n = new_state_VN[0][tile]
                    np.multiply(state_VN[0][tile], self._momentum, out=m_n)
                    np.add(m_n, g_n, out=m_n)
                    np.multiply(m_n, self._momentum, out=s_n)
                    np.add(s_n, g_n, out=s_n)
                    np.multiply(s_n, self._lr, out=s_n)
                else:
                    np.multiply(g_n, self._lr, out=s_n)
                np.subtract(base_N[tile], s_n, out=new_base_N[tile])


class AdamWRule:
    """AdamW (arXiv 1711.05101), bias-corrected by the round number.

    base *= 1 - lr * weight_decay
    m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + ((1 - beta2) * g) * g
    base -= (lr / (1 - beta1**t)) * (m / (sqrt(v) / sqrt(1 - beta2**t) + eps))
    """

    vectors = 2

    def __init__(self, *, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float) -> None:
        _check_rate(lr)
        _check_decay("beta1", beta1)
        _check_decay("beta2", beta2)
        if not (math.isfinite(eps) and np.float32(eps) > 0):
            raise ValueError(f"eps must be a positive float32, got {eps}")
        if not 0 <= lr * weight_decay < 1:
            raise ValueError(f"lr * weight_decay must be in [0, 1), got {lr * weight_decay}")
        self._lr, self._beta1, self._beta2 = lr, beta1, beta2
        self._eps = np.float32(eps)
        self._keep = np.float32(1.0 - lr * weight_decay)
        self._scratch = np.empty((2, _TILE_ELEMENTS), np.float32)

    def step(
        self,
        base_N: Vector,
        state_VN: tuple[Vector, ...],
        mean_N: Vector,
        round_number: int,
        into: tuple[Vector, ...] | None = None,
    ) -> None:
        new_base_N, new_m_N, new_v_N = into or (base_N, *state_VN)
        _check_slices(base_N, (*state_VN, new_base_N, new_m_N, new_v_N), mean_N, round_number)
        beta1, beta2 = np.float32(self._beta1), np.float32(self._beta2)
        fresh1, fresh2 = np.float32(1.0 - self._beta1), np.float32(1.0 - self._beta2)
        step_size = np.float32(self._lr / (1.0 - _power(self._beta1, round_number)))
        root_correction2 = np.float32(math.sqrt(1.0 - _power(self._beta2, round_number)))
        with np.errstate(all="ignore"):
            _refuse_flushing()
            for tile in _tiles(base_N.size):
                m_n, v_n, g_n = new_m_N[tile], new_v_N[tile], mean_N[tile]
                s_n, d_n = self._scratch[0, : g_n.size], self._scratch[1, : g_n.size]

                np.multiply(state_VN[0][tile], beta1, out=m_n)
                np.multiply(g_n, fresh1, out=s_n)
                np.add(m_n, s_n, out=m_n)

                np.multiply(state_VN[1][tile], beta2, out=v_n)
                np.multiply(g_n, fresh2, out=s_n)
                np.multiply(s_n, g_n, out=s_n)
                np.add(v_n, s_n, out=v_n)

                np.sqrt(v_n, out=d_n)
                np.divide(d_n, root_correction2, out=d_n)
                np.add(d_n, self._eps, out=d_n)
                np.divide(m_n, d_n, out=s_n)
                np.multiply(s_n, step_size, out=s_n)
                np.multiply(base_N[tile], self._keep, out=d_n)
                np.subtract(d_n, s_n, out=new_base_N[tile])


def _tiles(elements: int) -> list[slice]:
    edges = [*range(0, elements, _TILE_ELEMENTS), elements]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _power(base: float, exponent: int) -> float:
    """base ** exponent by squaring: only multiplications, so the same bits under every C library."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


def _refuse_flushing() -> None:
    """Raises TapestryError if this thread flushes subnormals, as code built with -ffast-math makes it."""
    if not (_SUBNORMAL * np.float32(0.5))[0] > 0:
        raise TapestryError(
            "this thread flushes subnormal numbers to zero, so its base would drift from the swarm's: "
            "unload the library that turned this on, or call torch.set_flush_denormal(False)"
        )


def _check_slices(base_N: Vector, state_VN: tuple[Vector, ...], mean_N: Vector, round_number: int) -> None:
    assert round_number >= 1, round_number
    for vector_N in (base_N, *state_VN, mean_N):
        assert vector_N.dtype == np.float32, vector_N.dtype
        assert vector_N.shape == base_N.shape, (vector_N.shape, base_N.shape)


def _check_rate(lr: float) -> None:
    if not (math.isfinite(lr) and lr > 0):
        raise ValueError(f"the outer learning rate must be positive and finite, got {lr}")


def _check_decay(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), got {value}")
