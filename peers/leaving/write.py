"""Writes a bundle: what is in it, the signed manifest first, one file. Asks nobody; the peer may be at work meanwhile.

It is a tar, not a folder: one thing to carry and to name by one digest, whose every byte follows from what is in it,
and which any machine can open. It appears under its name only after it has passed the check that a stranger will make.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from peers.leaving import manifest as manifests
from peers.leaving import tarball
from peers.leaving.check import Findings, check_bundle, keys_of
from peers.leaving.contents import Piece, build_pieces, shared_base_pieces, state_pieces
from peers.leaving.guide import guide
from peers.leaving.manifest import Leaving, Manifest
from peers.lineage.code import code
from peers.lineage.dsse import seal
from peers.lineage.history import base_at, last_record, read_run, require_state, walk
from peers.lineage.sign import EXPORT, sign_state
from peers.lineage.subjects import STATEMENT_NAME, Subject
from swarm.charter.documents import read_document
from swarm.charter.passport import MAX_PASSPORT_BYTES
from swarm.errors import LineageError, PassportError
from swarm.identity.key import Identity
from swarm.sovereignty.entry import Tier
from swarm.sovereignty.policy import read_policy
from swarm.state.chain import Mark
from swarm.state.run import Run

_TRIES = 3
"""A peer at work may remove an old checkpoint while it is being copied."""


@dataclass(frozen=True)
class Extras:
    """What is taken along beside the state folder."""

    builds: tuple[Path, ...] = ()
    policy: Path | None = None
    passport: Path | None = None
    private_key: Path | None = None
    """The peer's key file, if it is to be in the bundle."""


def write_bundle(state: Path, out: Path, identity: Identity, extras: Extras, *, at: float) -> Findings:
    """Writes a bundle to `out`, which does not exist yet, and returns what a check of it has found.

    Raises:
        UsageError: a path does not exist.
        LineageError: what is in the state folder does not hold.
        StateError: a file cannot be read or written.
    """
    beside = out.with_name(f"{out.name}.new")
    require_state(state)
    try:
        for _ in range(_TRIES - 1):
            try:
                return _written(state, beside, out, identity, extras, at)
            except (LineageError, FileNotFoundError):
                continue
        return _written(state, beside, out, identity, extras, at)
    finally:
        beside.unlink(missing_ok=True)


def _written(state: Path, beside: Path, out: Path, identity: Identity, extras: Extras, at: float) -> Findings:
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        folder = state / EXPORT
        if not (folder / STATEMENT_NAME).is_file():  # the state folder itself stays as it is
            folder = Path(scratch) / EXPORT
            sign_state(state, identity, tier=Tier.PUBLIC, at=at, folder=folder)
        pieces = [*state_pieces(state), *shared_base_pieces(folder), *_extra_pieces(extras)]
        run = _write(state, pieces, beside, identity, extras, at)
        into = Path(scratch) / "check"
        into.mkdir()
        found = check_bundle(beside, run.id, (), into)
    beside.rename(out)
    return found


def _write(state: Path, pieces: list[Piece], out: Path, identity: Identity, extras: Extras, at: float) -> Run:
    run = read_run(state, None)
    steps = list(walk(run, state, min(last_record(state), _records_in(pieces))))
    mark = steps[-1].after if steps else Mark.genesis(run)
    keys = msgspec.json.encode(keys_of(run, steps, identity.peer_id))
    pieces.append(Piece.of(manifests.KEYS_NAME, msgspec.json.format(keys) + b"\n"))
    leaving = Leaving(
        made_at=at,
        peer=identity.peer_id,
        base=base_at(run, mark),
        sizes_bytes=(),
        has_private_key=extras.private_key is not None,
        code=code(),
    )
    pieces.append(Piece.of(manifests.GUIDE_NAME, guide(leaving)))
    pieces.sort(key=lambda piece: piece.name)
    leaving = msgspec.structs.replace(leaving, sizes_bytes=tuple(piece.size_bytes for piece in pieces))
    subjects = tuple(Subject(piece.name, piece.digest()) for piece in pieces)
    envelope = seal(manifests.encode(Manifest(subject=subjects, predicate=leaving)), identity)
    with out.open("wb") as file:
        out.chmod(0o600)
        tarball.write_member(file, manifests.MANIFEST_NAME, len(envelope), [envelope])
        for piece in pieces:
            tarball.write_member(file, piece.name, piece.size_bytes, piece.parts())
        tarball.write_end(file)
    return run


def _records_in(pieces: list[Piece]) -> int:
    """The last record that was taken."""
    prefix = f"{manifests.STATE_FOLDER}/records/"
    return max((int(piece.name.removeprefix(prefix)) for piece in pieces if piece.name.startswith(prefix)), default=0)


def _extra_pieces(extras: Extras) -> list[Piece]:
    found = [piece for build in extras.builds for piece in build_pieces(build)]
    if extras.policy is not None:
        read_policy(extras.policy)  # said now, and not to whoever opens the bundle
        found.append(Piece.of(manifests.POLICY_NAME, extras.policy.read_bytes()))
    if extras.passport is not None:
        data = read_document(extras.passport, MAX_PASSPORT_BYTES, PassportError)
        found.append(Piece.of(manifests.PASSPORT_NAME, data))
    if extras.private_key is not None:
        found.append(Piece.of(manifests.IDENTITY_NAME, extras.private_key.read_bytes()))
    return found
