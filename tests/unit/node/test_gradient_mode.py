"""`gradient` mode through real engines: two peers on the in-memory network are one AdamW on the averaged gradients."""

import asyncio

import msgspec
import numpy as np
import pytest
import torch

from swarm.charter.manifest import AdamW, Training, Weights
from swarm.net.memory import VirtualTimeLoop
from swarm.node.work import Update
from swarm.state.head import Head
from swarm.vector.digest import state_digest
from swarm.vector.grid import Grid
from tests import simulation
from tests.simulation import FakeTrainer, Simulation, base_zero, make_charter

ELEMENTS, ROUNDS = 600, 12
OUTER = AdamW(lr=0.01, weight_decay=0.1)


def gradient(base_N: np.ndarray, peer: int) -> np.ndarray:
    """Of a made-up loss that differs from peer to peer: half the squared distance to the peer's own target."""
    target_N = np.random.default_rng(peer).standard_normal(base_N.size).astype(np.float32)
    return base_N - target_N


class GradientTrainer(FakeTrainer):
    """Gives the gradient at the head's base after some virtual time."""

    def __init__(self, seed: int, seconds) -> None:
        super().__init__(seed, seconds)
        self._peer = seed

    async def _train(self, head: Head, future: "asyncio.Future[Update]") -> None:
        await asyncio.sleep(self._seconds())
        if not future.done():
            future.set_result(Update(gradient(head.base_N, self._peer), 1))


@pytest.mark.parametrize(("codec", "tolerance"), [("float32", 2e-6), ("int8", 0.02)])
def test_two_peers_are_one_adamw_on_the_mean_gradient(
    codec: str, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "FakeTrainer", GradientTrainer)
    charter = make_charter(2, elements=ELEMENTS, chunk_elements=256, codec=codec)
    zeros = np.zeros(ELEMENTS, np.float32)
    digest = state_digest(Grid(ELEMENTS, 256), base_zero(ELEMENTS), (zeros, zeros)).hex()
    charter = msgspec.structs.replace(
        charter,
        training=Training(mode="gradient"),
        outer=OUTER,
        weights=Weights(policy="uniform", cap_percent=100),
        model=msgspec.structs.replace(charter.model, state_digest=digest),
    )

    async def run() -> np.ndarray:
        swarm = Simulation(charter, rounds=ROUNDS)
        for number in range(2):
            await swarm.start(number)
        await swarm.until_round(ROUNDS)
        engine = swarm.peers[0].engine
        assert engine is not None
        base_N = engine.head.base_N
        await swarm.finish()
        assert not swarm.errors
        swarm.check()
        return base_N

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        found_N = runner.run(run())

    weights = torch.nn.Parameter(torch.from_numpy(base_zero(ELEMENTS)))
    oracle = torch.optim.AdamW(
        [weights], lr=OUTER.lr, betas=(OUTER.beta1, OUTER.beta2), eps=OUTER.eps, weight_decay=OUTER.weight_decay
    )
    for _ in range(ROUNDS):
        base_N = weights.detach().numpy()
        weights.grad = torch.from_numpy((gradient(base_N, 0) + gradient(base_N, 1)) / 2)
        oracle.step()
    expected_N = weights.detach().numpy()
    moved = np.abs(expected_N - base_zero(ELEMENTS)).max()
    assert moved > 0.05
    # A step is about lr whatever the gradient's size, so the codec's rounding shows where a gradient is near zero.
    assert np.abs(found_N - expected_N).max() < tolerance
