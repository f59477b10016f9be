"""Files of signed statements, one JSON line each: appended to, and read back as far as whole lines go.

A line torn by a crash is closed by the next one and passed over by readers, like a ledger's. Every error of the disk is
a StateError that names the file.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from swarm.errors import ProtocolError, StateError
from swarm.sovereignty.signed import Signed, decode_line, encode_line


@contextmanager
def _told(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(f"cannot use {path}: {error.strerror}") from None


def append(path: Path, statements: Iterable[Signed]) -> None:
    """Adds statements at the end of a file, which is made if need be. Raises StateError."""
    with _told(path), path.open("ab+") as file:
        is_torn = False
        if file.seek(0, 2):
            file.seek(-1, 2)
            is_torn = file.read(1) != b"\n"
        file.write(b"\n" * is_torn + b"".join(map(encode_line, statements)))


def replace(path: Path, statements: Iterable[Signed]) -> None:
    """Makes these the only statements in a file, in one step. Raises StateError."""
    beside = path.with_name(path.name + ".new")
    with _told(path):
        beside.write_bytes(b"".join(map(encode_line, statements)))
        beside.rename(path)


def read(path: Path) -> Iterator[Signed]:
    """The statements in a file, signatures not yet checked; none where there is no file. Raises StateError."""
    with _told(path):
        try:
            lines = path.open("rb")
        except FileNotFoundError:
            return
        with lines:
            for line in lines:
                try:
                    yield decode_line(line)
                except ProtocolError:
                    continue


def count(path: Path) -> int:
    """Lines in a file; 0 where there is none. Raises StateError."""
    with _told(path):
        return path.read_bytes().count(b"\n") if path.exists() else 0
