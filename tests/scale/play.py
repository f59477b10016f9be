"""One simulated swarm from its first round to its last, and the text that says how it went."""

import asyncio
import gc
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from swarm.net.memory import run_virtual
from tests.scale.churn import Churn
from tests.scale.measure import Measure, Round, Spread, total_share
from tests.scale.shared import shared_work
from tests.scale.swarm import ScaleSwarm, scale_charter

_TICK_S = 1e-3
"""Timers this close together run in one turn of the loop, in order; far below any latency here."""
_COLLECT_EVERY = 5
"""Rounds. A simulation of this size has tens of millions of objects: looking through them is what takes the time."""
_STUCK_S = 600.0
"""Virtual seconds without a commit after which a simulation is given up."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    peers: int
    churn: Churn
    measure: Measure
    virtual_s: float
    cpu_s: float
    errors: tuple[BaseException, ...]
    """What engines and streams died of: a bug, whatever the shares say."""


def play(
    *, peers: int, rounds: int, regions: int, churn_percent: float, seed: int, say: Callable[[Round], None]
) -> Outcome:
    """Runs `rounds` rounds of `peers` machines under virtual time."""
    began_s = time.process_time()
    gc.disable()
    try:
        return run_virtual(_play(peers, rounds, regions, churn_percent, seed, say, began_s))
    finally:
        gc.enable()
        gc.unfreeze()


async def _play(
    peers: int,
    rounds: int,
    regions: int,
    churn_percent: float,
    seed: int,
    say: Callable[[Round], None],
    began_s: float,
) -> Outcome:
    loop = asyncio.get_running_loop()
    loop._clock_resolution = _TICK_S  # pyright: ignore[reportAttributeAccessIssue]
    measure = Measure()
    swarm = ScaleSwarm(scale_charter(peers, regions), seed=seed, watch=measure.watch)
    measure.attach(swarm)
    with shared_work(swarm.run_info):
        for number in range(peers):
            await swarm.begin(number)
        churn = Churn(swarm, churn_percent, random.Random(seed + 1))
        leaving = asyncio.create_task(churn.run())
        told = 0
        while len(measure.rounds) < rounds:
            await _next_commit(measure, told)
            told += 1
            say(measure.rounds[told - 1])
            if told == 1:
                gc.freeze()
            elif told % _COLLECT_EVERY == 0:
                gc.collect()
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        virtual_s = loop.time()
        for number in list(swarm.peers):
            swarm.kill(number)
        await asyncio.sleep(1.0)
    errors = (*swarm.errors, *swarm.network.errors)
    return Outcome(peers, churn, measure, virtual_s, time.process_time() - began_s, errors)


async def _next_commit(measure: Measure, told: int) -> None:
    async with asyncio.timeout(_STUCK_S):
        while len(measure.rounds) <= told:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.05)


def report(outcome: Outcome) -> str:
    """The distribution over rounds, as text."""
    measure, churn = outcome.measure, outcome.churn
    rounds = measure.rounds
    messages, sent = sum(each.messages for each in rounds), sum(each.sent_bytes for each in rounds)
    heads = [
        f"{outcome.peers} peers, {len(rounds)} rounds, churn {churn.percent_per_minute:g} % a minute: "
        f"{churn.deaths} killed, {churn.goodbyes} said goodbye, {churn.returns} came back, "
        f"{churn.newcomers} were replaced",
        f"counted of those present, all rounds together: {100 * total_share(rounds):.3f} %",
        f"rounds with everybody present counted: {sum(each.share == 1 for each in rounds)} of {len(rounds)}; "
        f"rounds that took more than one attempt: {sum(each.attempt > 1 for each in rounds)}",
        "",
        f"{'over rounds':28}{'least':>10}{'1 %':>10}{'median':>10}{'99 %':>10}{'most':>10}",
    ]
    lines = [
        _line("counted of present, %", [100 * each.share for each in rounds]),
        _line("counted of all alive, %", [100 * each.share_of_live for each in rounds]),
        _line("present", [each.present for each in rounds]),
        _line("catching up", [each.catching_up for each in rounds]),
        _line("formation, virtual s", [each.form_s for each in rounds]),
        _line("round, virtual s", [each.round_s for each in rounds]),
        _line("messages per peer", [each.messages / each.present for each in rounds[1:] or rounds]),
        _line("kB sent per peer", [each.sent_bytes / each.present / 1e3 for each in rounds[1:] or rounds]),
        _line("MB sent by the leader", [each.most_sent_bytes / 1e6 for each in rounds[1:] or rounds]),
    ]
    splits = sum(len(digests) > 1 for digests in measure.digests.values())
    tails = [
        "",
        f"{messages} messages, {sent / 1e9:.1f} GB; "
        f"{outcome.virtual_s:.0f} virtual s in {outcome.cpu_s:.0f} s of one core; "
        f"rounds with two states: {splits}; errors: {len(outcome.errors)}",
        "events: " + ", ".join(f"{kind} {count}" for kind, count in sorted(measure.kinds.items())),
    ]
    return "\n".join((*heads, *lines, *tails))


def _line(what: str, values: list[float]) -> str:
    spread = Spread.of(values)
    figures = (spread.least, spread.percent_1, spread.middle, spread.percent_99, spread.most)
    return f"{what:28}" + "".join(f"{figure:10.2f}" for figure in figures)
