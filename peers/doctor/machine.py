"""Checks of the machine alone: nothing here uses a network, and only the accelerator's check imports torch."""

import ctypes
import resource
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import swarm
from peers.doctor import cgroup
from peers.doctor.finding import Finding, good, note, wrong

MIN_MEMORY_BYTES = 2 * 10**9
"""A trainer and a node, each with torch imported (about 250 MB), and the pilot's model."""
MIN_FREE_DISK_BYTES = 2 * 10**9
MIN_DESCRIPTORS = 1024
_NVIDIA = Path("/proc/driver/nvidia")
_NVIDIA_LIMIT_S = 10.0
_NO_CARD = "No devices were found"
"""What nvidia-smi prints in the place of names; not every version fails then."""
_LONGEST_TEXT = 160
_TIMEX_BYTES = 256
_TIME_ERROR = 5
"""Of adjtimex(2): the clock is not synchronised."""


def all_findings(state: Path) -> list[Finding]:
    """Every check of this file, in the order in which a person would mend what they find."""
    return [libraries(), codec_loops(), memory(), disk(state), descriptors(), clock_keeping(), accelerator()]


def libraries() -> Finding:
    """The two that everything rests on; hivemind brings p2pd."""
    found: list[str] = []
    for name in ("torch", "hivemind"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            return wrong("libraries", f"{name} is not installed", "run `make setup` in Tapestry's folder")
    return good("libraries", ", ".join(found))


def codec_loops() -> Finding:
    """Whether `swarm/vector/_kernels.c` was compiled when Tapestry was installed; found, not imported."""
    folder = Path(swarm.__file__).parent / "vector"
    if any((folder / f"_kernels{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
        return good("codec", "its loops are compiled")
    remedy = "install a C compiler and Python's headers (apt-get install gcc python3-dev), then `make clean setup`"
    return note("codec", "its loops run in torch, which takes about twice the processor time", remedy)


def memory() -> Finding:
    """What the kernel says can still be given out, to this container or service where it is limited."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        left_bytes = cgroup.left_bytes(Path("/proc/self/cgroup").read_text())
    except OSError:
        return note("memory", "this system does not say how much is free", "")
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return memory_of(kib["MemAvailable"] * 1024, kib["MemTotal"] * 1024, left_bytes)


def memory_of(available_bytes: int, total_bytes: int, left_bytes: int | None = None) -> Finding:
    """The verdict on this much memory, of which a container or service may take what is left of its limit."""
    found = f"{available_bytes / 1e9:.1f} of {total_bytes / 1e9:.1f} GB are free"
    needed = f"a peer needs {MIN_MEMORY_BYTES / 1e9:.0f} GB and more"
    if left_bytes is not None and left_bytes < available_bytes:
        found += f", and {left_bytes / 1e9:.1f} GB are left within the limit of this container or service"
        if left_bytes < MIN_MEMORY_BYTES:
            return wrong("memory", found, f"{needed}: raise the limit (--memory, MemoryMax=)")
    if available_bytes >= MIN_MEMORY_BYTES:
        return good("memory", found)
    return wrong("memory", found, f"{needed}: end other programs")


def disk(state: Path) -> Finding:
    """Whether the state folder, or the nearest folder above it that exists, can be written and has room."""
    place = next(folder for folder in (state, *state.absolute().parents) if folder.is_dir())
    try:
        with tempfile.TemporaryFile(dir=place):
            free_bytes = shutil.disk_usage(place).free
    except OSError as error:
        return wrong("disk", f"{place} cannot be written: {error.strerror}", "choose another folder with --state")
    found = f"{free_bytes / 1e9:.1f} GB are free in {place}"
    if free_bytes >= MIN_FREE_DISK_BYTES:
        return good("disk", found)
    return note("disk", found, "checkpoints are two states of 8 bytes a parameter: choose a larger disk with --state")


def descriptors() -> Finding:
    """Streams, lanes and files; two lanes and a few streams for each partner."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} open files are allowed"
    if soft == resource.RLIM_INFINITY or soft >= MIN_DESCRIPTORS:
        return good("open files", found)
    return note("open files", found, f"run `ulimit -n {min(hard, 65536)}` first, or raise LimitNOFILE of the service")


def clock_keeping() -> Finding:
    """Whether the kernel has been told that something keeps the clock right."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))  # zeros: asks, changes nothing
    except (AttributeError, OSError):
        return note("clock keeping", "this system does not say", "")
    if 0 <= state < _TIME_ERROR:
        return good("clock keeping", "something keeps this machine's clock right")
    remedy = "`timedatectl set-ntp true`; in a container or a virtual machine the host may do it unseen"
    return note("clock keeping", "the kernel knows of nothing that keeps the clock right", remedy)


def accelerator() -> Finding:
    """What a trainer would compute on, and whether a GPU lies idle because torch was built without CUDA."""
    from peers.device import probe

    device = probe()
    found = f"{device.name}, {device.memory_bytes / 1e9:.0f} GB, {device.precision}"
    if device.kind == "cuda":
        return good("accelerator", found)
    match nvidia_cards():
        case Unanswered(cause):
            remedy = "mend the NVIDIA driver: `nvidia-smi` by itself has to list the card"
            return note("accelerator", f"torch sees no CUDA device, and nvidia-smi {cause}", remedy)
        case ():
            return note("accelerator", f"none: the CPU trains ({found})", "`tapestry bench device` says how fast")
        case cards:
            remedy = "install the CUDA build of the same torch version (README, GPUs)"
            reported = ", ".join(cards)
            return note("accelerator", f"torch sees no CUDA device, though the driver reports {reported}", remedy)


@dataclass(frozen=True)
class Unanswered:
    """There is a driver, and it does not say which cards there are."""

    cause: str
    """Goes on from "nvidia-smi"."""


def nvidia_cards() -> tuple[str, ...] | Unanswered:
    """The cards that NVIDIA's driver reports; none without a driver."""
    if shutil.which("nvidia-smi") is None and not _NVIDIA.exists():
        return ()
    try:
        told = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_NVIDIA_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Unanswered(f"does not answer within {_NVIDIA_LIMIT_S:g} s")
    except OSError as error:
        return Unanswered(f"cannot be run: {error.strerror}")
    lines = tuple(line.strip() for line in told.stdout.splitlines() if line.strip())
    if told.returncode != 0:
        said = " ".join(lines or told.stderr.split()) or f"exit status {told.returncode}"
        return Unanswered(f"fails: {said[:_LONGEST_TEXT]}")
    return () if _NO_CARD in lines else lines
