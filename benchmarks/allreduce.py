"""`tapestry bench allreduce`: our engine and its competitors, one after the other, on the same vectors.

Engines never run at the same time. They are imported by name in the worker processes only, so that a bench
without a baseline does not load it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import machine, report
from benchmarks.harness import Plan, Say, measure
from swarm.charter.rules import SECURE_MEMBERS
from swarm.errors import UsageError

_ELEMENTS_PER_MB = 250_000
_FIXED_BYTES_PER_PEER = 600_000_000
"""Three processes with torch and a libp2p daemon, measured on the hivemind baseline, which needs the most."""
_VECTORS_PER_PEER = 4
"""The input, and what an engine may hold besides it at its peak."""


@dataclass(frozen=True, slots=True)
class Engine:
    module: str
    codecs: dict[str, str]
    """The codec the engine runs when the user asks for one, as `asked: run`."""


SECURE = "secagg16"
"""Not a codec of results but a way to send updates: masked, 16 bits per element; results come back in int8."""
CODECS = ("int8", "int4", "bfloat16", "float32", SECURE)
ENGINES = {
    "tapestry": Engine("benchmarks.tapestry_worker", {codec: codec for codec in CODECS}),
    "hivemind": Engine("benchmarks.hivemind_baseline", dict.fromkeys(CODECS, "int8") | {"float32": "float32"}),
    "gloo": Engine("benchmarks.gloo_baseline", dict.fromkeys(CODECS, "float32")),
}


def run(peers: int, mb: int, codec: str, rounds: int, baselines: Sequence[str], say: Say) -> report.Document:
    """Measures our engine, then each baseline.

    Raises:
        UsageError: the machine has not the memory, or there are too few peers for a secure sum.
        BenchError: an engine failed.
    """
    if codec == SECURE and peers < SECURE_MEMBERS:
        raise UsageError(f"a secure sum takes {SECURE_MEMBERS} peers: of two, each sees the other's update in the sum")
    check_memory(peers=peers, mb=mb, available_bytes=machine.available_memory_bytes())
    before = machine.fingerprint()
    engines = [report.OURS, *dict.fromkeys(baselines)]
    results = tuple(run_engine(engine, peers=peers, mb=mb, codec=codec, rounds=rounds, say=say) for engine in engines)
    return report.Document(machine=before, results=results)


def run_engine(engine: str, *, peers: int, mb: int, codec: str, rounds: int, say: Say) -> report.Result:
    """Measures one engine of `ENGINES`."""
    chosen = ENGINES[engine]
    plan = Plan(
        module=chosen.module,
        codec=chosen.codecs[codec],
        peers=peers,
        elements=mb * _ELEMENTS_PER_MB,
        rounds=rounds,
    )
    return report.result(
        engine=engine,
        codec=plan.codec,
        peers=peers,
        mb=mb,
        threads_per_peer=plan.threads,
        measured=measure(plan, say),
    )


def check_memory(*, peers: int, mb: int, available_bytes: int) -> None:
    """Refuses a bench that would drive the machine out of memory.

    Raises:
        UsageError: with the need and what there is.
    """
    needed_bytes = peers * (_VECTORS_PER_PEER * mb * 1_000_000 + _FIXED_BYTES_PER_PEER)
    if needed_bytes > available_bytes:
        raise UsageError(
            f"{peers} peers x {mb} MB need about {needed_bytes / 1e9:.1f} GB of memory, "
            f"{available_bytes / 1e9:.1f} GB are free: take fewer peers or a smaller --mb"
        )
