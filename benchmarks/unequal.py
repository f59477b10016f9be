"""Unequal peers, for real: library loops on loopback, one of them ten times slower, and the same swarm without it.

Run as `python -m benchmarks.unequal`. A loop's speed is set by its own pace (a step takes as long as it is told to), so
that the figures are those of the protocol and not of processes that share two cores. Times are those of the nodes'
events. Prints tokens per second of both swarms and the share of its rounds that each peer waits for the last one.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import msgspec

from swarm import events
from swarm.clock import pause_s, process_s
from swarm.identity.key import Identity
from swarm.node.spawn import describe_exit

if TYPE_CHECKING:
    from torch import nn

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
FAST_STEP_S, SLOWER = 0.05, 10
STEP_TOKENS = 64
ROUND_S = 15.0
ROUNDS, WARM_UP = 6, 2
FAST = 2
BAR = 0.05


class Result(msgspec.Struct, frozen=True, kw_only=True):
    tokens_per_s: float
    """Of the swarm, synchronisation included, after the warm-up."""
    round_s: float
    idle_shares: tuple[float, ...]
    """By peer, slowest last: mean share of a round from its own update to the last one's."""
    tokens: tuple[int, ...]
    """By peer, in the last round."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    without_slow: Result
    with_slow: Result
    cost: float
    """Share of the swarm's tokens per second that the slow peer costs; below 0 if it adds some."""
    worst_idle: float


@dataclass(frozen=True)
class Round:
    ready_at: float
    committed_at: float
    tokens: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", nargs=6, metavar=("CHARTER", "JOIN", "KEY", "STATE", "STEP_S", "ROUNDS"))
    options = parser.parse_args()
    if options.loop:
        charter, join, key, state, step_s, rounds = options.loop
        loop(charter, join, key, state, float(step_s), int(rounds))
        return 0
    document = run()
    print(msgspec.json.format(msgspec.json.encode(document)).decode())
    return 0 if document.cost <= BAR and document.worst_idle <= BAR else 1


def run() -> Document:
    fast = [FAST_STEP_S] * FAST
    with tempfile.TemporaryDirectory() as folder:
        without = play(Path(folder) / "without", fast)
        together = play(Path(folder) / "with", [*fast, SLOWER * FAST_STEP_S])
    return Document(
        without_slow=without,
        with_slow=together,
        cost=1 - together.tokens_per_s / without.tokens_per_s,
        worst_idle=max(together.idle_shares),
    )


def play(folder: Path, steps_s: Sequence[float]) -> Result:
    """One swarm of loops from its charter to its last round."""
    folder.mkdir()
    charter = _found(folder, steps_s)
    command = [sys.executable, "-m", "peers", "bootstrap", "--charter", str(charter), "--state", str(folder / "b")]
    bootstrap = subprocess.Popen([*command, "--listen", LOOPBACK], stdout=subprocess.PIPE, text=True)
    assert bootstrap.stdout is not None
    try:
        join = bootstrap.stdout.readline().strip()
        loops = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "benchmarks.unequal", "--loop", str(charter), join),
                    *(str(folder / f"{n}.key"), str(folder / f"state{n}"), str(step_s), str(ROUNDS)),
                ]
            )
            for n, step_s in enumerate(steps_s)
        ]
        for running in loops:
            code = running.wait()
            assert code == 0, f"a loop {describe_exit(code)}"
    finally:
        bootstrap.kill()
        bootstrap.wait()
    return _figures([_rounds(folder / f"state{n}" / "events.jsonl") for n in range(len(steps_s))])


def loop(charter: str, join: str, key: str, state: str, step_s: float, rounds: int) -> None:
    """What a participant writes: three lines more than a loop of its own (swarm.join)."""
    import torch
    from torch import nn

    import swarm

    torch.set_num_threads(1)
    model = _model()
    with swarm.join(
        charter=charter, bootstrap=[join], identity=key, state=state, listen=[LOOPBACK], max_rounds=rounds
    ) as place:
        optimizer = place.wrap(model, torch.optim.AdamW(model.parameters(), lr=1e-3))
        while not optimizer.is_finished:
            began_s = process_s()
            inputs_BI = torch.randn(STEP_TOKENS, 8)
            loss = nn.functional.mse_loss(model(inputs_BI), inputs_BI.sum(1, keepdim=True))
            loss.backward()
            pause_s(max(0.0, step_s - (process_s() - began_s)))
            optimizer.report(tokens=STEP_TOKENS, loss=float(loss.detach()))
            optimizer.step()
            optimizer.zero_grad()


def _model() -> "nn.Module":
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 64), nn.Tanh(), nn.Linear(64, 1))


def _found(folder: Path, steps_s: Sequence[float]) -> Path:
    from safetensors.torch import save_file

    save_file(dict(_model().named_parameters()), folder / "model.safetensors")
    founder = Identity.generate()
    founder.save(folder / "founder.key")
    target = int(ROUND_S * sum(STEP_TOKENS / step_s for step_s in steps_s))
    charter = folder / "run.toml"
    words = ["--adopt", str(folder / "model.safetensors"), "--open", "--name", "unequal", "--region", "eu=DE"]
    words += ["--min-contributors", "1", "--founder", founder.peer_id, "--target-tokens", str(target)]
    for number in range(len(steps_s)):
        identity = Identity.generate()
        identity.save(folder / f"{number}.key")
        words += ["--genesis", identity.peer_id]
    tapestry = [sys.executable, "-m", "peers", "charter"]
    subprocess.run([*tapestry, "new", str(charter), *words], check=True, stdout=subprocess.DEVNULL)
    signing = ["sign", str(charter), "--identity", str(folder / "founder.key")]
    subprocess.run([*tapestry, *signing], check=True, stdout=subprocess.DEVNULL)
    return charter


def _rounds(path: Path) -> dict[int, Round]:
    ready: dict[int, tuple[float, int]] = {}
    found: dict[int, Round] = {}
    for line in path.read_bytes().splitlines(keepends=True):
        stamped = events.decode_line(line)
        match stamped.event:
            case events.UpdateReady() as event:
                ready[event.round] = stamped.at, event.tokens
            case events.RoundCommitted() as event if event.round in ready:
                at, tokens = ready[event.round]
                found[event.round] = Round(at, stamped.at, tokens)
            case _:
                pass
    return found


def _figures(peers: Sequence[dict[int, Round]]) -> Result:
    counted = range(WARM_UP + 1, ROUNDS + 1)
    began_at = max(of_peer[WARM_UP].committed_at for of_peer in peers)
    ended_at = max(of_peer[ROUNDS].committed_at for of_peer in peers)
    waits = [
        [
            (max(other[number].ready_at for other in peers) - own[number].ready_at)
            / (own[number].committed_at - own[number - 1].committed_at)
            for number in counted
        ]
        for own in peers
    ]
    return Result(
        tokens_per_s=sum(of_peer[number].tokens for of_peer in peers for number in counted) / (ended_at - began_at),
        round_s=(ended_at - began_at) / len(counted),
        idle_shares=tuple(mean(of_peer) for of_peer in waits),
        tokens=tuple(of_peer[ROUNDS].tokens for of_peer in peers),
    )


if __name__ == "__main__":
    sys.exit(main())
