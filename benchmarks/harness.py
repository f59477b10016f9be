"""Runs one engine: N worker processes, all calling at once, measured from outside, the same for every engine.

What is measured, per round:

- `form_s`, `data_s`: the engine's own two phases, of the slowest peer; `round_s`: their sum, of the slowest
  peer (a round ends when the last peer ends).
- `commit_s`: what the engine does after that until it can take the next vector (votes, certificate, outer step,
  residual), of the slowest peer; 0 for engines that only average.
- `cpu_s_per_peer`: user and system seconds of a worker's whole process group (helper processes and libp2p
  daemon included) from the start signal until the last peer has ended; mean over peers. Resolution: a clock
  tick, 10 ms. Votes and certificates are in it; an outer step and the digest of its state, which engines that only
  average do not take, are not: they are `commit_cpu_s_per_peer`, the engine's own count.
- `wire_bytes_per_peer`: bytes handed to TCP by the process group's sockets in that time, encryption, framing
  and retransmissions included, traffic between processes of one peer excluded where it runs over Unix sockets
  (libp2p's does); mean over peers. Of sockets closed before the round ends the engine has to tell (ours does);
  UDP is not seen.
- `rss_extra_bytes`: how far the process group's private and shared memory (no library files) rose in the
  round above where it stood after `prepare`, when the input vector was already in memory and filled; largest
  peer, sampled every 50 ms. Interpreter, libraries and the input vector are therefore not in it; every
  further buffer is, also one that the engine allocated in an earlier round and kept.

Two warm-up rounds are run and dropped. A round in which some peer averaged with fewer than all, or in which
the result is not the average, is not counted either, and is reported as incomplete. Every wait has a limit; a
worker that dies ends the bench with a one-line cause; no process outlives the bench. Linux only (/proc,
netlink). Processes are
`crew.py`, the table is `report.py`.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks import process_group
from benchmarks.crew import BenchError, Peer, ask, started
from benchmarks.worker import RoundFigures
from benchmarks.worker_process import Checked, Command

Say = Callable[[str], None]

WARM_UP_ROUNDS = 2
_MAX_RMS_ERROR = 0.2
"""Far above any 8-bit codec, far below a vector that was not averaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One engine, one size."""

    module: str
    """Import path of a module with `make_worker() -> Worker`."""
    codec: str
    peers: int
    elements: int
    rounds: int
    prepare_timeout_s: float = 120.0
    round_timeout_s: float = 300.0
    close_timeout_s: float = 15.0

    @property
    def threads(self) -> int:
        """Torch threads per peer: the cores are shared out evenly, the same for every engine."""
        return max(1, (os.cpu_count() or 1) // self.peers)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSample:
    """One counted round, already reduced over peers; the module's docstring defines each field."""

    form_s: float
    data_s: float
    round_s: float
    commit_s: float
    cpu_s_per_peer: float
    commit_cpu_s_per_peer: float
    wire_bytes_per_peer: float
    rss_extra_bytes: int
    rss_beyond_bytes: int
    rms_error: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What a bench of one engine found."""

    samples: tuple[RoundSample, ...]
    incomplete_rounds: int


def measure(plan: Plan, say: Say) -> Measured:
    """Runs the warm-up rounds, then as many as it takes to count `plan.rounds`.

    Raises:
        BenchError: a worker died, failed or kept silent, or more rounds were incomplete than asked for.
    """
    with started(
        module=plan.module, codec=plan.codec, world=plan.peers, elements=plan.elements, threads=plan.threads
    ) as peers:
        say(f"{plan.module}: {plan.peers} peers, preparing")
        ask(peers, Command("prepare"), plan.prepare_timeout_s)
        resting_bytes = [process_group.memory_bytes(process_group.members(peer.group)) for peer in peers]
        for index in range(1, WARM_UP_ROUNDS + 1):
            say(f"{plan.module}: warm-up: {_in_words(_round(plan, peers, index, resting_bytes))}")
        samples: list[RoundSample] = []
        incomplete = 0
        while len(samples) < plan.rounds:
            if incomplete > plan.rounds:
                tried = len(samples) + incomplete
                raise BenchError(f"{plan.module}: only {len(samples)} of {tried} rounds were complete")
            index = 1 + WARM_UP_ROUNDS + len(samples) + incomplete
            taken = _round(plan, peers, index, resting_bytes)
            say(f"{plan.module}: round {len(samples) + 1}/{plan.rounds}: {_in_words(taken)}")
            if taken is None:
                incomplete += 1
            else:
                samples.append(taken)
        ask(peers, Command("close"), plan.close_timeout_s)
        return Measured(tuple(samples), incomplete)


def _round(plan: Plan, peers: Sequence[Peer], index: int, resting_bytes: Sequence[int]) -> RoundSample | None:
    """One round; None when it was incomplete."""
    ask(peers, Command("fill", index), plan.round_timeout_s)
    members_before = [process_group.members(peer.group) for peer in peers]
    peak_bytes = list(resting_bytes)

    def watch_memory() -> None:
        for rank, pids in enumerate(members_before):
            peak_bytes[rank] = max(peak_bytes[rank], process_group.memory_bytes(pids))

    cpu_before_s = [process_group.cpu_s(pids) for pids in members_before]
    sent_before = process_group.tcp_bytes_sent()
    replies = ask(peers, Command("go"), plan.round_timeout_s, watch_memory)
    sent_after = process_group.tcp_bytes_sent()
    members_after = [process_group.members(peer.group) for peer in peers]
    cpu_after_s = [process_group.cpu_s(pids) for pids in members_after]
    wire_bytes = sum(
        sent_after.get(inode, 0) - sent_before.get(inode, 0)
        for pids in members_after
        for inode in process_group.socket_inodes(pids)
    )
    figures = [reply for reply in replies if isinstance(reply, RoundFigures)]
    checks = ask(peers, Command("check", index), plan.round_timeout_s)
    rms_error = max(reply.rms_error for reply in checks if isinstance(reply, Checked))
    if min(one.group_size for one in figures) < plan.peers or not rms_error < _MAX_RMS_ERROR:
        return None
    commit_cpu_s = sum(one.commit_cpu_s for one in figures) / plan.peers
    extra_bytes = max(peak - rest for peak, rest in zip(peak_bytes, resting_bytes, strict=True))
    return RoundSample(
        form_s=max(one.form_s for one in figures),
        data_s=max(one.data_s for one in figures),
        round_s=max(one.form_s + one.data_s for one in figures),
        commit_s=max(one.commit_s for one in figures),
        cpu_s_per_peer=(sum(cpu_after_s) - sum(cpu_before_s)) / plan.peers - commit_cpu_s,
        commit_cpu_s_per_peer=commit_cpu_s,
        wire_bytes_per_peer=(wire_bytes + sum(one.closed_bytes for one in figures)) / plan.peers,
        rss_extra_bytes=extra_bytes,
        rss_beyond_bytes=extra_bytes - max(one.named_bytes for one in figures),
        rms_error=rms_error,
    )


def _in_words(taken: RoundSample | None) -> str:
    if taken is None:
        return "incomplete, not every peer averaged with every other"
    return (
        f"{taken.form_s:.2f} + {taken.data_s:.2f} + {taken.commit_s:.2f} s, {taken.cpu_s_per_peer:.2f} CPU s per peer"
    )
