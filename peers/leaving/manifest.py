"""The signed list of what is in a bundle: an in-toto statement whose subjects are the bundle's files.

It is the bundle's first file and names every other one with size and digests. Whose signature it is decides nothing
about the run: that is checked from the run id (`check.py`). Pure.
"""

from pathlib import PurePosixPath
from typing import Literal

import msgspec

from peers.lineage.statement import STATEMENT_TYPE, Base, Code
from peers.lineage.subjects import Subject
from swarm.errors import LineageError
from swarm.identity.peer_id import PeerId

MANIFEST_NAME = "manifest.dsse.json"
GUIDE_NAME = "HOW_TO_RESTORE.md"
KEYS_NAME = "keys.json"
STATE_FOLDER = "state"
BUILDS_FOLDER = "builds"
PASSPORT_NAME = "passport.json"
IDENTITY_NAME = f"{STATE_FOLDER}/identity.key"
PREDICATE_TYPE = "urn:tapestry-swarm:exit:v1"
_PLACES = (STATE_FOLDER, BUILDS_FOLDER, PASSPORT_NAME, GUIDE_NAME, KEYS_NAME)


class Leaving(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The predicate."""

    version: Literal[1] = 1
    made_at: float
    """Unix seconds, on the peer's clock."""
    peer: PeerId
    base: Base
    """The head of the chain in the bundle."""
    sizes_bytes: tuple[int, ...]
    """Of the files, in their order."""
    has_private_key: bool
    code: Code


class Manifest(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"type_": "_type", "predicate_type": "predicateType"},
):
    type_: Literal["https://in-toto.io/Statement/v1"] = STATEMENT_TYPE
    subject: tuple[Subject, ...]
    predicate_type: Literal["urn:tapestry-swarm:exit:v1"] = PREDICATE_TYPE
    predicate: Leaving


class Key(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One public key of the run; a peer id contains it."""

    id: PeerId
    roles: tuple[str, ...]


def encode(manifest: Manifest) -> bytes:
    return msgspec.json.encode(manifest)


def decode(payload: bytes, what: str) -> Manifest:
    """The manifest in a verified payload. Raises LineageError when it is none, or names files that no bundle has."""
    try:
        manifest = msgspec.json.decode(payload, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LineageError(f"{what} has no manifest of a bundle: {error}") from None
    names = [subject.name for subject in manifest.subject]
    if len(names) != len(manifest.predicate.sizes_bytes) or len(set(names)) != len(names):
        raise LineageError(f"{what}: the manifest names a file twice, or without its size")
    for name in names:
        if not is_inside(name):
            raise LineageError(f"{what}: the manifest names {name!r}, which has no place in a bundle")
    if any(size < 0 for size in manifest.predicate.sizes_bytes):
        raise LineageError(f"{what}: the manifest names a file of less than no bytes")
    return manifest


def is_inside(name: str) -> bool:
    """Whether a name is a plain path below one of a bundle's places."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and parts[0] in _PLACES
        and "/".join(parts) == name
        and all(part not in ("..", ".") and part.isprintable() and "\\" not in part for part in parts)
    )
