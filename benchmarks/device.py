"""`tapestry bench device`: what this machine can do for a run, measured with the trainer's own parts.

For each precision the device has: the largest micro-batch that fits, found by doubling until memory runs out, and the
tokens per second of whole inner steps with it. For each optimiser: whether it runs here, the memory its state takes,
and the seconds of a step. Nothing here is estimated; what does not run is said with its cause.
"""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch

from benchmarks.machine import Machine, available_memory_bytes, fingerprint
from peers.accumulation import Accumulator, Loss
from peers.device import Choice, Device, Precision, is_out_of_memory, memory_for, probe, release_memory
from peers.trainer import causal_loss
from swarm.charter.manifest import Training
from swarm.clock import process_s
from swarm.errors import DeviceError

MEASURED_S = 2.0
"""Steps are repeated for so long, after one that warms up."""
_OF_FREE_MEMORY = 0.9
"""What a bench on the CPU may take, so that it is refused memory before the kernel ends it."""


class DeviceFacts(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    name: str
    memory_bytes: int
    dtypes: tuple[str, ...]
    chosen_dtype: str
    """What `tapestry peer` would compute in."""


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    source: str
    parameters: int
    sequence_length: int
    batch_size: int


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Inner steps in one precision."""

    dtype: str
    micro_batch: int
    """Sequences; 0 if a step with one does not fit."""
    is_limit: bool
    """Whether memory set it; if not, as many as were asked for fit."""
    tokens_per_s: float
    peak_bytes: int | None
    """On an accelerator; None on a CPU, whose allocator does not say."""


class OptimiserFacts(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    cause: str
    """Why it does not run here; empty if it does."""
    state_bytes: int
    step_s: float


class Document(msgspec.Struct, frozen=True, kw_only=True):
    machine: Machine
    device: DeviceFacts
    model: ModelFacts
    results: tuple[Throughput, ...]
    optimisers: tuple[OptimiserFacts, ...]


def run(charter: Path | None, choice: Choice, largest: int | None, say: Callable[[str], None]) -> Document:
    """Measures this machine with the charter's model, or the pilot's.

    Args:
        largest: micro-batch to stop doubling at; the charter's batch if left out, since a trainer uses no more.

    Raises:
        DeviceError: the device asked for is not there, or has no room for the model.
        CharterError, ModelError: the charter or its model cannot be used.
    """
    from peers.model import build

    config_json, training, source = _model(charter)
    device = probe(choice)
    if device.kind == "cpu":
        _limit_memory()
    model = build(config_json)
    model.train()
    moved: Any = model
    with memory_for("the model", device):
        moved.to(device.kind)
    most = largest or training.batch_size
    say(f"{device.kind}: {device.name}, {source} model")
    results: list[Throughput] = []
    for precision in device.precisions:
        say(f"{precision}: doubling the micro-batch up to {most}")
        results.append(measure(model, causal_loss, device, precision, training, most))
    return Document(
        machine=fingerprint(),
        device=DeviceFacts(
            kind=device.kind,
            name=device.name,
            memory_bytes=device.memory_bytes,
            dtypes=device.precisions,
            chosen_dtype=device.precision,
        ),
        model=ModelFacts(
            source=source,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            sequence_length=training.sequence_length,
            batch_size=training.batch_size,
        ),
        results=tuple(results),
        optimisers=optimisers(model, device),
    )


def measure(model: Any, loss: Loss, device: Device, precision: Precision, training: Training, most: int) -> Throughput:
    """The largest micro-batch of at most `most` sequences that fits, and its pace in whole inner steps."""
    inner = torch.optim.AdamW(model.parameters(), lr=0.0)
    best = Throughput(dtype=precision, micro_batch=0, is_limit=True, tokens_per_s=0.0, peak_bytes=None)
    micro_batch = 1
    while True:
        pace = _pace(model, loss, device, precision, training, micro_batch, inner)
        if pace is None:
            return msgspec.structs.replace(best, is_limit=True)
        peak = torch.cuda.max_memory_allocated() if device.kind == "cuda" else None
        best = Throughput(dtype=precision, micro_batch=micro_batch, is_limit=False, tokens_per_s=pace, peak_bytes=peak)
        if micro_batch >= most:
            return best
        micro_batch = min(2 * micro_batch, most)


def _pace(
    model: Any,
    loss: Loss,
    device: Device,
    precision: Precision,
    training: Training,
    micro_batch: int,
    inner: torch.optim.Optimizer,
) -> float | None:
    """Tokens per second with batches of at least the charter's size; None if the micro-batch does not fit."""
    rows = max(micro_batch, training.batch_size)
    tokens_BL = torch.randint(0, 256, (rows, training.sequence_length + 1))
    shrunk: list[int] = []
    accumulator = Accumulator(model, loss, device, micro_batch, lambda size, _: shrunk.append(size), precision)

    def step() -> None:
        accumulator.backward(tokens_BL)
        accumulator.scaler.step(inner)
        accumulator.scaler.update()

    try:
        step()
        began_s, steps = process_s(), 0
        while not shrunk and (steps == 0 or process_s() - began_s < MEASURED_S):
            step()
            _wait(device)
            steps += 1
        if not shrunk:
            return steps * rows * training.sequence_length / (process_s() - began_s)
    except (DeviceError, RuntimeError, MemoryError) as error:
        # One sequence does not fit, or the optimiser's step.
        if not (isinstance(error, DeviceError) or is_out_of_memory(error)):
            raise
    # Outside of the handler: the traceback holds on to the tensors of the failed attempt.
    model.zero_grad(set_to_none=True)
    release_memory()
    return None


def optimisers(model: Any, device: Device) -> tuple[OptimiserFacts, ...]:
    """AdamW as torch has it, and bitsandbytes' with 8-bit states, on the model's own parameters."""

    def eight_bit() -> torch.optim.Optimizer:
        import bitsandbytes

        return bitsandbytes.optim.AdamW8bit(model.parameters(), lr=0.0)

    return (
        _optimiser("AdamW", lambda: torch.optim.AdamW(model.parameters(), lr=0.0), model, device),
        _optimiser("AdamW8bit (bitsandbytes)", eight_bit, model, device),
    )


def _optimiser(name: str, make: Callable[[], torch.optim.Optimizer], model: Any, device: Device) -> OptimiserFacts:
    try:
        # A step asks for gradients and not for where they come from: activations need not fit beside it.
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 1e-3)
        optimiser = make()
        optimiser.step()
        began_s, steps = process_s(), 0
        while steps == 0 or process_s() - began_s < MEASURED_S / 2:
            optimiser.step()
            _wait(device)
            steps += 1
    except (ImportError, RuntimeError, NotImplementedError, AttributeError, MemoryError) as error:
        # bitsandbytes chooses its kernels at the first step: what it lacks on this device shows here
        cause = "out of memory" if is_out_of_memory(error) else (str(error).splitlines() or [type(error).__name__])[0]
        return OptimiserFacts(name=name, cause=cause, state_bytes=0, step_s=0.0)
    finally:
        model.zero_grad(set_to_none=True)
        release_memory()
    return OptimiserFacts(
        name=name, cause="", state_bytes=state_bytes(optimiser), step_s=(process_s() - began_s) / steps
    )


def state_bytes(optimiser: torch.optim.Optimizer) -> int:
    """Bytes of the tensors an optimiser keeps; one that several parameters share (a quantisation map) counts once."""
    held = {
        value.data_ptr(): value.numel() * value.element_size()
        for of_parameter in optimiser.state.values()
        for value in of_parameter.values()
        if isinstance(value, torch.Tensor)
    }
    return sum(held.values())


def _wait(device: Device) -> None:
    """An accelerator works on when its calls have returned."""
    if device.kind == "cuda":
        torch.cuda.synchronize()


def _model(charter: Path | None) -> tuple[str, Training, str]:
    from peers.demo.terms import PILOT_MODEL
    from swarm.charter import files
    from swarm.errors import CharterError

    if charter is None:
        return msgspec.json.encode(PILOT_MODEL).decode(), Training(), "the pilot's"
    found = files.read(charter).charter
    if not found.model.config_json:
        raise CharterError("the charter's members bring their model themselves: there is none in it to measure")
    return found.model.config_json, found.training, "the charter's"


def _limit_memory() -> None:
    """On a CPU: refuses this process what the machine does not have, so that running out is an error to catch."""
    held = next(
        int(line.split()[1]) * 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmData:")
    )
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (held + int(_OF_FREE_MEMORY * available_memory_bytes()), hard))
