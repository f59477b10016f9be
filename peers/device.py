"""What this machine can train on: an accelerator or the CPU, its memory, the precisions it has; and running out of it.

`tapestry peer` sets its trainer up from this and `tapestry bench device` shows it. Weights and optimiser state stay
float32 everywhere: a precision says in what the forward and backward pass compute (torch's autocast). Nothing here
trains, and torch is the only thing it needs.
"""

import gc
import os
from collections.abc import Generator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from swarm.errors import DeviceError

Choice = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PREFERRED: tuple[Precision, ...] = ("bf16", "fp16", "fp32")
"""bf16 has float32's range and needs no loss scaling, fp16 does; float32 works everywhere."""


@dataclass(frozen=True)
class Device:
    """One place to train on."""

    kind: Literal["cpu", "cuda"]
    name: str
    memory_bytes: int
    precisions: tuple[Precision, ...]
    """Those it computes in its own units, not by emulation."""

    @property
    def precision(self) -> Precision:
        """What a trainer uses here: on a CPU always float32, which is faster than bf16 where no unit computes it."""
        if self.kind == "cpu":
            return "fp32"
        return next(precision for precision in PREFERRED if precision in self.precisions)


def probe(choice: Choice = "auto") -> Device:
    """The device to train on.

    Raises:
        DeviceError: `cuda` was asked for, and torch sees none.
    """
    has_cuda = torch.cuda.is_available()
    if choice == "cuda" and not has_cuda:
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU only"
        raise DeviceError(f"torch sees no CUDA device here (it is built for {built}): leave out --device, or say cpu")
    return _cuda() if has_cuda and choice != "cpu" else _cpu()


def _cuda() -> Device:
    properties = torch.cuda.get_device_properties(0)
    # Tensor cores compute fp16 from Volta (7.0) on; bf16 torch knows itself.
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    has_fp16 = torch.cuda.get_device_capability(0) >= (7, 0)
    found: list[Precision] = ["fp32"]
    if has_bf16:
        found.append("bf16")
    if has_fp16:
        found.append("fp16")
    return Device("cuda", properties.name, properties.total_memory, tuple(found))


def _cpu() -> Device:
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    name = f"{torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores"
    return Device("cpu", name, memory_bytes, cpu_precisions(_cpu_flags()))


def cpu_precisions(flags: Set[str]) -> tuple[Precision, ...]:
    """What a CPU with these flags (Linux's names, x86 and Arm) has units for."""
    found: list[Precision] = ["fp32"]
    if flags & {"avx512_bf16", "amx_bf16", "bf16"}:
        found.append("bf16")
    if flags & {"avx512_fp16", "amx_fp16", "asimdhp"}:
        found.append("fp16")
    return tuple(found)


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()  # not Linux
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(value.split())
    return set()


_OUT_OF_MEMORY = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "HIP error: out of memory",
    "BLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""In plain RuntimeErrors: of the CPU's allocator, and of what asks an accelerator's driver itself."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: torch has an exception for most on accelerators, and sentences for the rest."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


@contextmanager
def memory_for(what: str, device: Device) -> Generator[None]:
    """Makes a sentence for people of running out of memory for `what`.

    Raises:
        DeviceError: memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise no_memory_for(what, device, error) from None


def no_memory_for(what: str, device: Device, error: BaseException) -> DeviceError:
    """That `what` does not fit, what to do, and torch's words for it."""
    cause = next(iter(str(error).splitlines()), type(error).__name__)
    other = " (--device cpu is one)" if device.kind == "cuda" else ""
    return DeviceError(
        f"{what} does not fit into the memory of {device.name}: this run needs a smaller model or a larger "
        f"device{other} ({cause})"
    )


def release_memory() -> None:
    """Gives back what a failed attempt held, so that a smaller one finds it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
