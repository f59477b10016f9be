"""Files and their digests: what a statement or a bundle is about, and whether a folder still is that.

Each file has two digests, SHA-256 for everybody's tools and BLAKE3. Every file counts: one that is not named, or of
another kind (a link, a device), is a fault. No signatures here.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
from blake3 import blake3

from peers.build.weights import refuse_pickles
from swarm.errors import LineageError, ModelError, UsageError

STATEMENT_NAME = "statement.dsse.json"
_BLOCK_BYTES = 1 << 20


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An in-toto ResourceDescriptor: a file by its path below the folder, `/` between parts."""

    name: str
    digest: dict[str, str]
    """Algorithm to hex digest: `sha256` and `blake3`."""


def digests(file: BinaryIO, length_bytes: int | None = None) -> tuple[dict[str, str], int]:
    """Digests of a file from where it stands, or of its next so many bytes; and how many bytes that were."""
    sha256, tree, done = hashlib.sha256(), blake3(), 0
    while length_bytes is None or done < length_bytes:
        block = file.read(_BLOCK_BYTES if length_bytes is None else min(_BLOCK_BYTES, length_bytes - done))
        if not block:
            break
        sha256.update(block)
        tree.update(block)
        done += len(block)
    return {"sha256": sha256.hexdigest(), "blake3": tree.hexdigest()}, done


def files_of(folder: Path, leave_out: Iterable[str] = (STATEMENT_NAME,)) -> list[Path]:
    """Every file below a folder, by its relative path, in the order of names.

    Raises:
        UsageError: there is no such folder.
        LineageError: something in it is not a plain file.
    """
    if not folder.is_dir():
        raise UsageError(f"folder {folder} does not exist")
    left_out = {folder / name for name in leave_out}
    found: list[Path] = []
    for path in sorted(folder.rglob("*")):
        if path in left_out or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink() or not path.is_file():
            raise LineageError(f"{path} is not a plain file")
        found.append(path.relative_to(folder))
    return found


def subjects_of(folder: Path) -> tuple[Subject, ...]:
    """A model folder's files, but for its statement.

    Raises:
        UsageError: there is no such folder.
        LineageError: it is empty, a file cannot be read, or there are weights in a format that runs code.
    """
    names = files_of(folder)
    if not names:
        raise LineageError(f"{folder} is empty: there is no model to speak of")
    try:
        refuse_pickles(folder)
        found: list[Subject] = []
        for name in names:
            with (folder / name).open("rb") as file:
                found.append(Subject(name.as_posix(), digests(file)[0]))
        return tuple(found)
    except ModelError as error:
        raise LineageError(str(error)) from None
    except OSError as error:
        raise LineageError(f"cannot read {error.filename}: {error.strerror}") from None


def check_folder(folder: Path, subjects: Sequence[Subject]) -> None:
    """Whether a folder holds exactly these files. Raises LineageError that names the first that differs."""
    stated = {subject.name: subject.digest for subject in subjects}
    for found in subjects_of(folder):
        if found.name not in stated:
            raise LineageError(f"{folder / found.name} is not in the statement")
        if stated.pop(found.name) != found.digest:
            raise LineageError(f"{folder / found.name} is not the file that was signed")
    if stated:
        raise LineageError(f"{folder / min(stated)} is missing: the statement names it")
