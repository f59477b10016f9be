"""The outer rules against a scalar oracle and torch, and their bits however the vector is cut.

`fixtures/outer_bits.json` holds the bits one machine computed; another CPU that disagrees fails here. To
write it anew after a deliberate change of a rule: python -m tests.unit.vector.test_outer
"""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from swarm.errors import TapestryError
from swarm.vector.digest import chunk_digest
from swarm.vector.grid import Grid, Vector
from swarm.vector.outer import AdamWRule, NesterovRule, OuterRule

FIXTURE = Path(__file__).parent / "fixtures" / "outer_bits.json"
ROUNDS = 5
SHOWN = 19

Slow = Callable[[float, list[float], float], tuple[float, list[float]]]


def make_rules() -> dict[str, OuterRule]:
    return {
        "nesterov": NesterovRule(lr=0.7, momentum=0.9),
        "adamw": AdamWRule(lr=1e-2, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1),
    }


def inputs(elements: int, seed: int) -> Vector:
    """Values in [-1, 1) of very different sizes, by integer arithmetic: no library may change them."""
    index = np.arange(elements, dtype=np.uint64) + np.uint64(seed * 1_000_003)
    mixed = (index * np.uint64(6364136223846793005)) >> np.uint64(20)
    value = (mixed & np.uint64(0xFFFFFF)).astype(np.float32) * np.float32(2**-23) - np.float32(1)
    halvings = (mixed >> np.uint64(24)).astype(np.int64) % 40
    return np.ldexp(value, -halvings).astype(np.float32)


def run(rule: OuterRule, elements: int, chunk_elements: int) -> list[Vector]:
    """Base and state after some rounds, chunk by chunk, last chunk first."""
    base = inputs(elements, 1)
    state = tuple(np.zeros(elements, np.float32) for _ in range(rule.vectors))
    grid = Grid(elements, chunk_elements)
    for round_number in range(1, ROUNDS + 1):
        mean = inputs(elements, 1 + round_number)
        for chunk in reversed(range(grid.chunks)):
            at = grid.bounds(chunk)
            rule.step(base[at], tuple(vector[at] for vector in state), mean[at], round_number)
    return [base, *state]


def f32(value: float) -> float:
    """A float64 result rounded to float32.

    For one addition, product, quotient or square root of float32 values this is the correctly rounded float32
    result: 53 bits are more than twice 24 bits plus one (Figueroa, "When is double rounding innocuous?").
    """
    return float(np.float32(value))


def slow_nesterov(base: float, state: list[float], g: float) -> tuple[float, list[float]]:
    """One element, one round of `make_rules()["nesterov"]`, rounded after every operation."""
    lr, momentum = f32(0.7), f32(0.9)
    m = f32(f32(momentum * state[0]) + g)
    return f32(base - f32(lr * f32(f32(momentum * m) + g))), [m]


def slow_adamw(base: float, state: list[float], g: float) -> tuple[float, list[float]]:
    """One element, round 3 of `make_rules()["adamw"]`, rounded after every operation."""
    lr, beta1, beta2 = 1e-2, 0.9, 0.95
    m = f32(f32(f32(beta1) * state[0]) + f32(f32(1 - beta1) * g))
    v = f32(f32(f32(beta2) * state[1]) + f32(f32(f32(1 - beta2) * g) * g))
    denominator = f32(f32(f32(v**0.5) / f32((1 - beta2 * beta2 * beta2) ** 0.5)) + f32(1e-8))
    step = f32(f32(lr / (1 - beta1 * beta1 * beta1)) * f32(m / denominator))
    return f32(f32(base * f32(1 - lr * 0.1)) - step), [m, v]


@pytest.mark.parametrize(("name", "slow"), [("nesterov", slow_nesterov), ("adamw", slow_adamw)])
def test_every_operation_is_rounded_on_its_own(name: str, slow: Slow) -> None:
    rule = make_rules()[name]
    base, mean = inputs(400, 1), inputs(400, 2)
    state = tuple(np.abs(inputs(400, 3 + i)) for i in range(rule.vectors))
    expected = [slow(float(base[i]), [float(vector[i]) for vector in state], float(mean[i])) for i in range(base.size)]
    rule.step(base, state, mean, 3)
    assert base.tolist() == [new_base for new_base, _ in expected]
    for i, vector in enumerate(state):
        assert vector.tolist() == [new_state[i] for _, new_state in expected]


def test_a_fused_multiply_add_would_show() -> None:
    """The oracle's data tell one rounding from two, or the test above would prove nothing."""
    momentum = f32(0.9)
    pairs = list(zip(inputs(400, 3).tolist(), inputs(400, 2).tolist(), strict=True))
    once = [float(np.float32(float(Fraction(momentum) * Fraction(m) + Fraction(g)))) for m, g in pairs]
    twice = [f32(f32(momentum * m) + g) for m, g in pairs]
    assert sum(a != b for a, b in zip(once, twice, strict=True)) > 3


@pytest.mark.parametrize("name", ["nesterov", "adamw"])
def test_matches_torch(name: str) -> None:
    elements = 5000
    parameter = torch.nn.Parameter(torch.from_numpy(inputs(elements, 1).copy()))
    optimizer: torch.optim.Optimizer
    if name == "nesterov":
        optimizer = torch.optim.SGD([parameter], lr=0.7, momentum=0.9, nesterov=True)
    else:
        optimizer = torch.optim.AdamW([parameter], lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    for round_number in range(1, ROUNDS + 1):
        parameter.grad = torch.from_numpy(inputs(elements, 1 + round_number))
        optimizer.step()
    base = run(make_rules()[name], elements, elements)[0]
    np.testing.assert_allclose(base, parameter.detach().numpy(), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", ["nesterov", "adamw"])
@pytest.mark.parametrize("chunk_elements", [1, 3, 7, 16, 31, 64, 255])
def test_bits_do_not_depend_on_the_cut(name: str, chunk_elements: int) -> None:
    whole = run(make_rules()[name], 517, 517)
    cut = run(make_rules()[name], 517, chunk_elements)
    assert [vector.tobytes() for vector in cut] == [vector.tobytes() for vector in whole]


@pytest.mark.parametrize("name", ["nesterov", "adamw"])
def test_bits_do_not_depend_on_the_cut_across_tiles(name: str) -> None:
    whole = run(make_rules()[name], 100_003, 100_003)
    cut = run(make_rules()[name], 100_003, 40_009)
    assert [vector.tobytes() for vector in cut] == [vector.tobytes() for vector in whole]


@pytest.mark.parametrize("name", ["nesterov", "adamw"])
def test_bits_do_not_depend_on_alignment(name: str) -> None:
    expected = run(make_rules()[name], 203, 203)
    rule = make_rules()[name]
    for offset in range(17):
        memory = np.zeros((2 + rule.vectors, 256), np.float32)
        # every vector at another distance from a cache line
        base, mean, *state = (row[(offset + 5 * i) % 17 :][:203] for i, row in enumerate(memory))
        base[:] = inputs(203, 1)
        for round_number in range(1, ROUNDS + 1):
            mean[:] = inputs(203, 1 + round_number)
            rule.step(base, tuple(state), mean, round_number)
        assert [vector.tobytes() for vector in (base, *state)] == [vector.tobytes() for vector in expected]


def fixture() -> dict[str, dict[str, list[str]]]:
    """Per rule: the first elements of base and state as little-endian hex, digests of a longer run."""
    return {
        name: {
            "bits": [vector[:SHOWN].astype("<f4").tobytes().hex() for vector in run(rule, SHOWN, SHOWN)],
            "digests": [chunk_digest(vector.astype("<f4").tobytes()).hex() for vector in run(rule, 70_001, 70_001)],
        }
        for name, rule in make_rules().items()
    }


def test_this_cpu_computes_the_committed_bits() -> None:
    assert fixture() == json.loads(FIXTURE.read_text())


def test_the_mean_is_only_read() -> None:
    for rule in make_rules().values():
        mean = inputs(40, 1)
        mean.flags.writeable = False
        rule.step(inputs(40, 2), tuple(np.zeros(40, np.float32) for _ in range(rule.vectors)), mean, 1)


def test_numpy_error_settings_do_not_decide_the_step() -> None:
    for rule in make_rules().values():
        state = tuple(np.zeros(2, np.float32) for _ in range(rule.vectors))
        with np.errstate(all="raise"):
            rule.step(np.ones(2, np.float32), state, np.array([1e30, 1e-42], np.float32), 1)


def test_flushed_subnormals_are_refused() -> None:
    base = np.ones(4, np.float32)
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU cannot flush subnormals")
    try:
        with pytest.raises(TapestryError, match="subnormal"):
            NesterovRule(lr=0.7, momentum=0.9).step(base, (np.zeros(4, np.float32),), base.copy(), 1)
    finally:
        torch.set_flush_denormal(False)
    assert base.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan"), float("inf")])
def test_nonsense_rates_are_refused(lr: float) -> None:
    with pytest.raises(ValueError, match="learning rate"):
        NesterovRule(lr=lr, momentum=0.9)
    with pytest.raises(ValueError, match="learning rate"):
        AdamWRule(lr=lr, beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1)


def test_nonsense_constants_are_refused() -> None:
    with pytest.raises(ValueError, match="momentum"):
        NesterovRule(lr=1.0, momentum=1.0)
    with pytest.raises(ValueError, match="beta2"):
        AdamWRule(lr=1e-3, beta1=0.9, beta2=1.0, eps=1e-8, weight_decay=0.1)
    with pytest.raises(ValueError, match="eps"):
        AdamWRule(lr=1e-3, beta1=0.9, beta2=0.9, eps=0, weight_decay=0.1)
    with pytest.raises(ValueError, match="weight_decay"):
        AdamWRule(lr=0.5, beta1=0.9, beta2=0.9, eps=1e-8, weight_decay=2.0)


if __name__ == "__main__":
    FIXTURE.write_text(json.dumps(fixture(), indent=1) + "\n")
