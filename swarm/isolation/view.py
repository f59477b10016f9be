"""A file system of a process's own: the folders it was given, at the paths they always had, and nothing else.

Made in a new mount namespace: an empty root into which folders are bound, read-only but for those that may be written.
Hides what no permission covers, such as unix sockets of other programs. Needs a fresh mount and PID namespace.
"""

import os
import struct
from pathlib import Path
from typing import NamedTuple

from swarm.isolation.kernel import LIBC, checked, system_call

_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT = 1, 2, 4, 8, 32
_BIND, _REC, _PRIVATE = 1 << 12, 1 << 14, 1 << 18
_DETACH = 2
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_ATTR_RDONLY = 1

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
ACCELERATORS = ("nvidia*", "dri", "kfd")
"""In /dev: what torch computes on."""
TEMPORARY = ("/tmp", "/dev/shm")
"""Private and empty; gone with the process."""


class View(NamedTuple):
    read: tuple[str, ...]
    """Files and folders that can be seen; those that do not exist are left out."""
    write: tuple[str, ...]


def devices() -> tuple[str, ...]:
    """The devices that exist here, of those a trainer may use."""
    found = (path for pattern in ACCELERATORS for path in sorted(Path("/dev").glob(pattern)))
    return tuple(path for path in (*DEVICES, *map(str, found)) if Path(path).exists())


def enter(view: View, root: str) -> None:
    """Makes `root`, an empty folder, this process's root with only `view` in it.

    Raises:
        OSError: the kernel refuses a step; this process then still sees what it saw.
    """
    _mount("none", "/", None, _REC | _PRIVATE)
    _mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, "mode=0755,size=1m")
    for path in TEMPORARY:
        Path(root + path).mkdir(parents=True)
        _mount("tmpfs", root + path, "tmpfs", _NOSUID | _NODEV, "mode=1777")
    Path(root, "proc").mkdir()
    _mount("proc", f"{root}/proc", "proc", _NOSUID | _NODEV | _NOEXEC | _RDONLY)
    for path in devices():
        _show(root, path, writable=True)
    _show_all(root, view)
    for path in (*view.read, *view.write):
        _link(root, Path(path))
    _mount("none", root, None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)
    os.chdir(root)
    system_call("pivot_root", b".", b".")
    checked(LIBC.umount2(b".", _DETACH), "umount2")
    os.chdir("/")


def _show_all(root: str, view: View) -> None:
    writable = {os.path.realpath(path) for path in view.write}
    shown = ""
    for path in sorted({os.path.realpath(path) for path in view.read} | writable):  # parents before what lies in them
        if path in writable:
            _show(root, path, writable=True)
        elif not shown or not f"{path}/".startswith(shown):
            _show(root, path, writable=False)
            shown = f"{path}/"


def _show(root: str, path: str, *, writable: bool) -> None:
    """Binds a file or folder, with what is mounted below it, at its own path in the new root."""
    place = Path(root + path)
    try:
        is_folder = Path(path).is_dir()
        if not is_folder and not Path(path).exists():
            return
    except PermissionError:
        return
    if is_folder:
        place.mkdir(parents=True, exist_ok=True)
    elif not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    _mount(path, str(place), None, _BIND | _REC)
    if not writable:
        attributes = struct.pack("=QQQQ", _ATTR_RDONLY, 0, 0, 0)
        system_call("mount_setattr", _AT_FDCWD, os.fsencode(place), _AT_RECURSIVE, attributes, len(attributes))


def _link(root: str, path: Path) -> None:
    """Makes the symbolic links over which `path` is reached, such as /lib for /usr/lib."""
    if path == path.parent:
        return
    _link(root, path.parent)
    place = Path(root + str(path))
    if path.is_symlink() and not os.path.lexists(place):
        target = path.readlink()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
        _link(root, Path(os.path.normpath(path.parent / target)))


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (kind, data)]
    result = LIBC.mount(os.fsencode(source), os.fsencode(target), encoded[0], flags, encoded[1])
    checked(result, f"mount {target}")
