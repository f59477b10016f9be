"""Folders of weights: their digest, and what may not lie in one. Reads files as bytes; knows nothing of models."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import blake3
import msgspec

from swarm.errors import ModelError

_PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})


def weights_digest(folder: Path) -> str:
    """Hex BLAKE3 over names and contents of the safetensors files in a folder, in order of their names.

    Raises:
        ModelError: there are none, or one cannot be read.
    """
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise ModelError(f"{folder} holds no safetensors file")
    return files_digest(paths)


def files_digest(paths: Iterable[Path]) -> str:
    """Hex BLAKE3 over names and contents of files, in this order. Raises ModelError if one cannot be read."""
    try:
        content = [(path.name, blake3.blake3().update_mmap(path).hexdigest()) for path in paths]
    except OSError as error:
        raise ModelError(f"{error.filename} cannot be read: {error.strerror}") from None
    return blake3.blake3(msgspec.json.encode(content)).hexdigest()


def is_whole(folder: Path, digest: str) -> bool:
    """Whether a folder's weights are those of this digest; not if they are gone, or torn by a power cut."""
    try:
        return weights_digest(folder) == digest
    except ModelError:
        return False


def refuse_pickles(folder: Path) -> None:
    """Whether nothing in the folder or below it could run code when it is read, by what files are called.

    Raises:
        ModelError: something could, or there is no such folder, or part of it cannot be looked at.
    """

    def unseen(error: OSError) -> NoReturn:
        raise ModelError(f"{error.filename} cannot be read: {error.strerror}")

    for place, _, names in os.walk(folder, onerror=unseen):
        for path in (Path(place, name) for name in sorted(names)):
            if path.suffix.lower() in _PICKLE_SUFFIXES:
                raise ModelError(f"{path} is a pickle file, which can run code when it is read: safetensors only")


def require_digest(folder: Path, digest: str) -> None:
    """Raises ModelError if the weights in a folder are not those on record."""
    refuse_pickles(folder)
    if weights_digest(folder) != digest:
        raise ModelError(f"the weights in {folder} are not those on record: they were changed after they were written")
