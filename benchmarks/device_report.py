"""A device measurement as JSON, and as lines for people."""

import msgspec

from benchmarks.device import Document, OptimiserFacts, Throughput

_GIB = 2**30
_MB = 1e6


def to_json(document: Document) -> str:
    return msgspec.json.format(msgspec.json.encode(document)).decode()


def lines(document: Document) -> list[str]:
    device, model = document.device, document.model
    return [
        f"{device.kind}: {device.name}, {device.memory_bytes / _GIB:.1f} GiB, computes {', '.join(device.dtypes)}",
        f"{model.source} model: {model.parameters:,} parameters, batches of {model.batch_size} x "
        f"{model.sequence_length} bytes",
        *(_throughput(result, device.chosen_dtype) for result in document.results),
        *(_optimiser(optimiser) for optimiser in document.optimisers),
    ]


def _throughput(result: Throughput, chosen: str) -> str:
    if result.micro_batch == 0:
        return f"{result.dtype}: not even one sequence fits into memory with its optimiser step"
    limit = "the most that fits" if result.is_limit else "more was not asked for"
    peak = "" if result.peak_bytes is None else f", {result.peak_bytes / _GIB:.2f} GiB at the peak"
    mark = " (a peer here uses this)" if result.dtype == chosen else ""
    return (
        f"{result.dtype}: {result.tokens_per_s:,.0f} tokens/s at {result.micro_batch} sequences ({limit}){peak}{mark}"
    )


def _optimiser(optimiser: OptimiserFacts) -> str:
    if optimiser.cause:
        return f"{optimiser.name}: does not run here ({optimiser.cause})"
    return f"{optimiser.name}: {optimiser.state_bytes / _MB:.2f} MB of state, {optimiser.step_s * 1e3:.1f} ms a step"
