"""Which folders a Python program needs to run at all, on this machine, for this interpreter."""

import os
import site
import sys
from collections.abc import Iterable
from pathlib import Path

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt/rocm", "/sys")
_SETTINGS = (
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/nsswitch.conf"),
    *("/etc/passwd", "/etc/group", "/etc/localtime", "/etc/timezone", "/etc/mime.types", "/etc/OpenCL"),
)


def python() -> tuple[str, ...]:
    """The system's programs and libraries, this interpreter with its packages, and this library."""
    prefixes = (sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(sys.executable).resolve().parents[1]))
    packages = (path for path in sys.path if Path(path).name in ("site-packages", "dist-packages"))
    libraries = (path for path in os.environ.get("LD_LIBRARY_PATH", "").split(":") if path)
    own = str(Path(__file__).resolve().parents[1])
    places = (*_SYSTEM, *prefixes, *site.getsitepackages(), *packages, *libraries, own)
    return tuple(dict.fromkeys(str(Path(place).absolute()) for place in places if place not in ("", "/")))


def settings() -> tuple[str, ...]:
    """The files in /etc that a program which talks to nobody reads."""
    return tuple(path for path in _SETTINGS if Path(path).exists())


def program(words: Iterable[str]) -> tuple[str, ...]:
    """What a command line names: its program with its virtual environment, its scripts' folders, and other files."""
    found: list[str] = []
    for word in words:
        path = Path(word).absolute()
        if path.parent.name == "bin" and (path.parents[1] / "pyvenv.cfg").exists():
            found.append(str(path.parents[1]))
        elif path.is_dir():
            found.append(str(path))
        elif path.is_file():
            found.append(str(path.parent if path.suffix == ".py" else path))
    return tuple(found)


def overlap(hidden: Iterable[Path], given: Iterable[str]) -> tuple[str, str] | None:
    """A folder to be hidden and a given one that it lies in, or that lies in it; None if they are apart."""
    allowed = [Path(os.path.realpath(place)) for place in given]
    for folder in hidden:
        real = Path(os.path.realpath(folder))
        for place in allowed:
            if real.is_relative_to(place) or place.is_relative_to(real):
                return str(folder), str(place)
    return None
