"""Goes with every figure: what the machine is, never whose (no host or user name, no path)."""

import os
import platform
from importlib import metadata
from pathlib import Path

import msgspec

_KIB = 1024


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Enough to tell whether two measurements can be compared."""

    cpu: str
    cores: int
    memory_bytes: int
    kernel: str
    python: str
    packages: dict[str, str]
    """Version of each library that the figures depend on."""
    load_1m: float
    """Load average over the last minute before the bench: above a few tenths, somebody else was working."""


def fingerprint() -> Machine:
    return Machine(
        cpu=_cpu_model(Path("/proc/cpuinfo").read_text()),
        cores=os.cpu_count() or 1,
        memory_bytes=_meminfo_bytes("MemTotal"),
        kernel=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        packages={name: metadata.version(name) for name in ("torch", "numpy", "hivemind", "uvloop")},
        load_1m=os.getloadavg()[0],
    )


def available_memory_bytes() -> int:
    """What programs started now could use without swapping, by the kernel's estimate."""
    return _meminfo_bytes("MemAvailable")


def _cpu_model(cpuinfo: str) -> str:
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model", "cpu model"}:
            return value.strip()
    return platform.machine()  # Arm kernels give no model name


def _meminfo_bytes(key: str) -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * _KIB
    raise OSError(f"/proc/meminfo has no line {key}")
