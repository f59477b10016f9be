"""The mark of a member's own weights: in a model's config, and in the header of every safetensors file of a build.

`transformers` keeps the one in the config when a model is trained further, and a copied file keeps the one in its
header. Nothing holds up who takes both out by hand.
"""

import struct
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from peers.build.record import BASE_FOLDER, RECORD_NAME
from swarm.errors import ModelError
from swarm.state.disk import replace_file, told

DOMAIN_KEY, SOVEREIGN = "tapestry_domain", "sovereign"
"""In config.json and in the header's metadata."""
_METADATA = "__metadata__"
_MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""
_ALIGNMENT = 8
_PIECE_BYTES = 4 * 1024 * 1024


def mark_weights(folder: Path) -> None:
    """Puts the mark into the safetensors files of a folder; their tensors stay as they are, byte for byte.

    Raises:
        ModelError: a file that is called so is none.
        StateError: the disk refuses; that file is as it was.
    """
    for path in sorted(folder.glob("*.safetensors")):
        with told(path), path.open("rb") as file:
            header = _read_header(file)
            if header is None:
                raise ModelError(f"{path} is not a safetensors file")
            marked = {**header, _METADATA: {**_metadata_of(header), DOMAIN_KEY: SOVEREIGN}}
            text = msgspec.json.encode(marked, order="deterministic")
            text += b" " * (-len(text) % _ALIGNMENT)
            replace_file(path, chain([struct.pack("<Q", len(text)) + text], _pieces(file)))


def is_sovereign(path: Path) -> bool:
    """Whether a folder of weights, or one file of them, is of a build: by its mark, or because it lies in one.

    A build's base is shared.
    """
    place = (path if path.is_dir() else path.parent).absolute()
    if place.name != BASE_FOLDER and (place.parent / RECORD_NAME).is_file():
        return True
    files = path.glob("*.safetensors") if path.is_dir() else [path]
    return _is_marked_config(place / "config.json") or any(map(_is_marked, files))


def _is_marked_config(path: Path) -> bool:
    try:
        config = msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return False
    return config.get(DOMAIN_KEY) == SOVEREIGN


def _is_marked(path: Path) -> bool:
    """Of one file. What is no safetensors file has no mark, and whoever reads weights refuses it."""
    try:
        with path.open("rb") as file:
            header = _read_header(file)
    except OSError:
        return False
    return header is not None and _metadata_of(header).get(DOMAIN_KEY) == SOVEREIGN


def _read_header(file: BinaryIO) -> dict[str, Any] | None:
    """The header of a safetensors file, which is read up to its tensors; None if it is none."""
    length = file.read(8)
    if len(length) < 8:
        return None
    (size,) = struct.unpack("<Q", length)
    if size > _MAX_HEADER_BYTES:
        return None
    try:
        return msgspec.json.decode(file.read(size), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _metadata_of(header: Mapping[str, Any]) -> Mapping[str, Any]:
    found = header.get(_METADATA)
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        yield piece
