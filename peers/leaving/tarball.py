"""A tar file of which every byte follows from the names and contents in it: written in one pass, read in one pass.

Regular files only, owner and time zero, mode 0600, GNU long names and sizes, two empty blocks at the end. A reader
knows from the manifest what has to come, so it parses nothing of a stranger's: each header must be exactly the one that
this module would write. Any tar program opens the file as well.
"""

import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from swarm.errors import LineageError

_BLOCK_BYTES = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK_BYTES)
_COPY_BYTES = 1 << 20
_MODE = 0o600


def header(name: str, size_bytes: int) -> bytes:
    """What stands before a file's bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size_bytes, _MODE
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def padding(size_bytes: int) -> bytes:
    """What stands after them."""
    return bytes(-size_bytes % _BLOCK_BYTES)


def write_end(out: BinaryIO) -> None:
    out.write(_END)


def write_member(out: BinaryIO, name: str, size_bytes: int, parts: Iterable[bytes]) -> None:
    """Writes one file; the caller sees to it that the parts add up to its size."""
    out.write(header(name, size_bytes))
    for part in parts:
        out.write(part)
    out.write(padding(size_bytes))


def read_first(bundle: BinaryIO, name: str, max_bytes: int, what: str) -> bytes:
    """The content of the first file, which must be called `name`. Raises LineageError."""
    block = bundle.read(_BLOCK_BYTES)
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError):
        raise LineageError(f"{what} is not a bundle: it does not begin as one") from None
    if info.name != name or block != header(name, info.size) or info.size > max_bytes:
        raise LineageError(f"{what} is not a bundle: it does not begin with {name}")
    data = bundle.read(info.size)
    if len(data) != info.size or bundle.read(len(padding(info.size))) != padding(info.size):
        raise LineageError(f"{what} ends inside {name}, or bytes after it were changed")
    return data


def read_member(bundle: BinaryIO, name: str, size_bytes: int, take: Callable[[bytes], object]) -> None:
    """Hands the bytes of the next file, which must be this one, to `take`. Raises LineageError that names it."""
    expected = header(name, size_bytes)
    if bundle.read(len(expected)) != expected:
        raise LineageError(f"{name}: the bytes that announce it in the bundle were changed")
    left = size_bytes
    while left:
        part = bundle.read(min(_COPY_BYTES, left))
        if not part:
            raise LineageError(f"{name}: the bundle ends inside it")
        take(part)
        left -= len(part)
    if bundle.read(len(padding(size_bytes))) != padding(size_bytes):
        raise LineageError(f"{name}: the bytes after it in the bundle were changed")


def read_end(bundle: BinaryIO, path: Path) -> None:
    """The two empty blocks, and nothing after them. Raises LineageError."""
    if bundle.read(len(_END) + 1) != _END:
        raise LineageError(f"the end of {path} was changed, or something was added to it")
