"""What this peer has trained on, session by session: STATE/trained.jsonl, one line for each start of its node.

A line says which data sets were in use, under which policy, and from which entry of the ledger on. Its digest is in the
ledger as a `policy` entry, so it cannot be changed afterwards without breaking the log that others witness. Whatever
updates the ledger's decisions name until the next line were made from these data sets, and nothing else. A line torn by
a crash is closed by the next one and passed over: its session had not begun.

What a session leaves over of its updates (the residual) is made from its data too: who begins a session without one of
the data sets of the session before drops it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import blake3
import msgspec

from swarm.errors import StateError
from swarm.sovereignty.artefacts import Artefact, DataUsed, record_of
from swarm.sovereignty.entry import SALT_BYTES
from swarm.sovereignty.lattice import restrictions_of
from swarm.sovereignty.ledger import Ledger

TRAINED_NAME = "trained.jsonl"
POLICY_ENTRY = "policy/"
"""Begins the line of a session in the ledger."""
_OWNER_ONLY = 0o600


class Session(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line."""

    at: float
    """Unix seconds."""
    entry: int
    """Entries of the ledger before this session's own."""
    policy: str
    """Hex digest of the policy in force."""
    data: tuple[Artefact, ...]

    def uses(self, source: str) -> bool:
        return any(artefact.source == source for artefact in self.data)


@dataclass(frozen=True)
class Begun:
    """A session that is on record."""

    session: Session
    withdrawn: tuple[str, ...]
    """Data sets of the session before that this one does without."""


def begin(
    folder: Path, ledger: Ledger, *, policy: str, data: Sequence[DataUsed], isolation: str, owner: str, at: float
) -> Begun:
    """Puts a session on record, here and in the ledger, before anything made in it can leave. Raises StateError."""
    before = read_sessions(folder)
    known = {(each.source, each.version): each.salt for session in before for each in session.data}
    artefacts = tuple(
        record_of(
            each,
            restrictions_of(each, isolation),
            owner=owner,
            salt=known.get((each.name, each.digest)) or os.urandom(SALT_BYTES),
        )
        for each in data
    )
    session = Session(at=at, entry=ledger.size, policy=policy, data=artefacts)
    line = msgspec.json.encode(session)
    _append(folder / TRAINED_NAME, line)
    ledger.note(line, f"{POLICY_ENTRY}{policy}")
    now = {each.source: each.version for each in artefacts}
    earlier = before[-1].data if before else ()
    gone = tuple(each.source for each in earlier if now.get(each.source) != each.version)
    return Begun(session, gone)


def read_sessions(folder: Path) -> tuple[Session, ...]:
    """Every session in a state folder, the oldest first; none where there is no file. Raises StateError."""
    return tuple(session for session, _ in read_lines(folder))


def read_lines(folder: Path) -> list[tuple[Session, str]]:
    """Every session with the digest that its entry in the ledger has. Raises StateError."""
    path = folder / TRAINED_NAME
    try:
        lines = path.read_bytes().split(b"\n") if path.exists() else []
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror}") from None
    found: list[tuple[Session, str]] = []
    for line in lines:
        try:
            found.append((_DECODER.decode(line), blake3.blake3(line).hexdigest()))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return found


def _append(path: Path, line: bytes) -> None:
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, _OWNER_ONLY), "ab+") as file:
            is_torn = False
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                is_torn = file.read(1) != b"\n"
            file.write(b"\n" * is_torn + line + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StateError(f"cannot write {path}, so nothing may leave: {error.strerror}") from None


_DECODER = msgspec.json.Decoder(Session)
