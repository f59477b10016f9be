"""Writes a bundle: what is in it, the signed manifest first, one file. Asks nobody; the peer may be at work meanwhile.

It is a tar, not a folder: one thing to carry and to name by one digest, whose every byte follows from what is in it,
and which any machine can open. It appears under its name only after it has passed the check that a stranger will make.
"""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from peers.ecosystem.tokenizer import has_tokenizer
from peers.leaving import manifest as manifests
from peers.leaving import tarball
from peers.leaving.check import Findings, check_bundle, keys_of
from peers.leaving.contents import Piece, build_pieces, settled, shared_base_pieces, state_pieces, tokenizer_pieces
from peers.leaving.guide import guide
from peers.leaving.manifest import Leaving, Manifest
from peers.lineage.code import code
from peers.lineage.dsse import seal
from peers.lineage.history import base_at, head_of, last_record, read_run, require_state, walk
from peers.lineage.sign import sign_state
from peers.lineage.subjects import STATEMENT_NAME, Subject
from peers.lineage.verify import read_statement, verify
from swarm.charter.documents import read_document
from swarm.charter.passport import MAX_PASSPORT_BYTES
from swarm.errors import LineageError, PassportError, UsageError
from swarm.identity.key import Identity
from swarm.sovereignty.entry import Tier
from swarm.sovereignty.policy import read_policy
from swarm.state.chain import Mark
from swarm.state.policies import policy_path
from swarm.state.run import Run
from swarm.state.shared_base import EXPORT

_TRIES = 3
"""A peer at work may remove an old checkpoint while it is being taken."""


@dataclass(frozen=True)
class Extras:
    """What is taken along beside the state folder."""

    builds: tuple[Path, ...] = ()
    policies: tuple[Path, ...] = ()
    """Policy files that neither the state folder nor a build has kept."""
    passport: Path | None = None
    private_key: Path | None = None
    """The peer's key file, if it is to be in the bundle."""


def write_bundle(state: Path, out: Path, identity: Identity, extras: Extras, *, at: float) -> Findings:
    """Writes a bundle to `out`, which does not exist yet, and returns what a check of it has found.

    Raises:
        UsageError: a path does not exist.
        LineageError: what is in the state folder does not hold.
        ModelError: the charter names a tokenizer, and the state folder does not hold it.
        StateError: a file cannot be read or written.
    """
    require_state(state)
    beside = out.with_name(f"{out.name}.new")
    try:
        for _ in range(_TRIES - 1):
            with suppress(LineageError, FileNotFoundError):
                return _written(state, beside, out, identity, extras, at)
        return _written(state, beside, out, identity, extras, at)
    finally:
        beside.unlink(missing_ok=True)


def _written(state: Path, beside: Path, out: Path, identity: Identity, extras: Extras, at: float) -> Findings:
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        tokenizer = read_run(state, None).charter.model.tokenizer_digest
        pieces = settled([*state_pieces(state), *tokenizer_pieces(state, tokenizer)], Path(scratch))
        pieces += shared_base_pieces(_shared_base(state, Path(scratch), identity, at))
        pieces += _extra_pieces(extras, {piece.name for piece in pieces})
        run = _write(Path(scratch) / manifests.STATE_FOLDER, pieces, beside, identity, extras, at)
        into = Path(scratch) / "check"
        into.mkdir()
        found = check_bundle(beside, run.id, (), into)
    beside.rename(out)
    return found


def _shared_base(state: Path, scratch: Path, identity: Identity, at: float) -> Path:
    """A model folder of the base that the taken records lead to: the peer's own if that is signed, or a new one."""
    taken, own = scratch / manifests.STATE_FOLDER, state / EXPORT
    run = read_run(taken, None)
    head = base_at(run, head_of(run, taken))
    with suppress(LineageError, UsageError):
        if (
            read_statement(own / STATEMENT_NAME)[1].predicate.base == head
            and has_tokenizer(own, run.charter.model.tokenizer_digest)
            and verify(own, taken, run.id).coverage.weights
        ):
            return own
    sign_state(taken, identity, tier=Tier.PUBLIC, at=at, folder=scratch / EXPORT)
    return scratch / EXPORT


def _write(state: Path, pieces: list[Piece], out: Path, identity: Identity, extras: Extras, at: float) -> Run:
    run = read_run(state, None)
    steps = list(walk(run, state, last_record(state)))
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
    pieces.append(Piece.of(manifests.GUIDE_NAME, guide(leaving, run.charter.model)))
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


def _extra_pieces(extras: Extras, taken: Collection[str]) -> list[Piece]:
    found = [piece for build in extras.builds for piece in build_pieces(build)]
    policies = {
        policy_path(Path(manifests.STATE_FOLDER), read_policy(path).digest).as_posix(): path for path in extras.policies
    }
    found += [Piece.of(name, path.read_bytes()) for name, path in policies.items() if name not in taken]
    if extras.passport is not None:
        data = read_document(extras.passport, MAX_PASSPORT_BYTES, PassportError)
        found.append(Piece.of(manifests.PASSPORT_NAME, data))
    if extras.private_key is not None:
        found.append(Piece.of(manifests.IDENTITY_NAME, extras.private_key.read_bytes()))
    return found
