"""What a bundle takes from a state folder, copied so that it fits together although the peer may be at work in it.

Each file is of one of three kinds. Small ones that are replaced are read at once. Logs are taken up to their last whole
line at that moment. What is written once and never changed (records, checkpoints, means) is taken by name; if one has
gone by the time it is taken, the copy is begun anew; `settled` holds what was taken until the bundle is written.

The order makes it consistent: what speaks of a file is read before it. Heads and receipts before the ledger that they
are over; checkpoints before the records that they need.

Left behind: what is left over of updates (`residual`: made from this peer's data alone), event logs, addresses, caches.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

from peers.build.record import MODEL_FOLDER, WORK_FOLDER
from peers.ecosystem.tokenizer import TOKENIZER_FOLDER, tokenizer_files, tokenizer_of
from peers.leaving.manifest import BUILDS_FOLDER, STATE_FOLDER
from peers.lineage.subjects import STATEMENT_NAME, digests, files_of
from peers.privacy.account import ACCOUNT
from swarm.errors import LineageError
from swarm.node.spending import MARK
from swarm.sovereignty.heads import HEADS_NAME
from swarm.sovereignty.ledger import LEDGER_NAME
from swarm.sovereignty.receipts import RECEIPTS_NAME
from swarm.sovereignty.trained import TRAINED_NAME
from swarm.sovereignty.witness import WITNESS_NAME
from swarm.state.disk import read_file, told
from swarm.state.policies import POLICIES_NAME
from swarm.state.shared_base import EXPORT

_REPLACED = ("charter.toml", "acceptor", "restarts", "spent", MARK, f"trainer/{ACCOUNT}")
_WRITTEN_ONCE = ("snapshots", "records", "results")
_READ_BYTES = 1 << 20
_OWNER_ONLY = 0o600


@dataclass(frozen=True)
class Piece:
    """One file of a bundle: its bytes, or where they are and how many of them count."""

    name: str
    data: bytes | None = None
    path: Path | None = None
    size_bytes: int = 0
    is_constant: bool = False
    """Whether the file at `path` is never changed, only removed."""

    @classmethod
    def of(cls, name: str, data: bytes) -> "Piece":
        return cls(name, data, None, len(data))

    def parts(self) -> Iterator[bytes]:
        """The bytes, again on each call. Raises OSError."""
        if self.path is None:
            yield self.data or b""
            return
        left = self.size_bytes
        with self.path.open("rb") as file:
            while left and (part := file.read(min(_READ_BYTES, left))):
                yield part
                left -= len(part)

    def digest(self) -> dict[str, str]:
        """Raises OSError."""
        if self.path is None:
            return digests(BytesIO(self.data or b""))[0]
        with self.path.open("rb") as file:
            return digests(file, self.size_bytes)[0]


def state_pieces(state: Path) -> list[Piece]:
    """Everything to take along from a state folder. Raises StateError."""
    found = [*_whole(state, HEADS_NAME), *_folder(state, WITNESS_NAME), *_receipts(state)]
    found += [*_log(state, TRAINED_NAME), *_log(state, LEDGER_NAME)]
    found += [piece for name in _REPLACED for piece in _whole(state, name)]
    found += [*_folder(state, "governance"), *_folder(state, POLICIES_NAME)]
    for name in _WRITTEN_ONCE:
        found += _named(state, name)
    return found


def tokenizer_pieces(state: Path, digest: str) -> list[Piece]:
    """The tokenizer that the charter names by this digest, wherever a state folder has it; none if tokens are bytes.

    Raises:
        ModelError: it is not there.
        StateError: it cannot be read.
    """
    if not digest:
        return []
    folder = tokenizer_of(state, digest)
    with told(folder):
        found = [(name, (folder / name).read_bytes()) for name in tokenizer_files(folder)]
    return [Piece.of(f"{STATE_FOLDER}/{TOKENIZER_FOLDER}/{name}", data) for name, data in found]


def settled(pieces: Sequence[Piece], into: Path) -> list[Piece]:
    """The same pieces as files below `into`, where nobody changes or removes them; what is never changed is linked.

    Raises:
        OSError: one has gone meanwhile, or the disk refuses.
    """
    found: list[Piece] = []
    for piece in pieces:
        target = into / piece.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (piece.is_constant and piece.path is not None and _is_linked(piece.path, target)):
            with target.open("xb") as file:
                target.chmod(_OWNER_ONLY)
                for part in piece.parts():
                    file.write(part)
        found.append(replace(piece, data=None, path=target))
    return found


def _is_linked(path: Path, target: Path) -> bool:
    try:
        os.link(path, target)
    except FileNotFoundError:
        raise
    except OSError:
        return False  # on another file system, or on one without links
    return True


def shared_base_pieces(folder: Path) -> list[Piece]:
    """The Shared Base as a model folder with its statement. Raises UsageError or LineageError."""
    return folder_pieces(folder, f"{STATE_FOLDER}/{EXPORT}")


def build_pieces(build: Path) -> list[Piece]:
    """A Sovereign Build, but for the checkpoints of a stage that is not finished.

    Raises:
        UsageError: there is no such folder.
        LineageError: it has no statement yet.
    """
    place = f"{BUILDS_FOLDER}/{build.resolve().name}"
    found = [piece for piece in folder_pieces(build, place) if not piece.name.startswith(f"{place}/{WORK_FOLDER}/")]
    if not (build / MODEL_FOLDER / STATEMENT_NAME).is_file():
        raise LineageError(f"{build} has no statement yet: run `tapestry lineage sign {build}`")
    return found


def folder_pieces(folder: Path, place: str) -> list[Piece]:
    """Every file below a folder. Raises UsageError or LineageError."""
    with told(folder):
        return [
            Piece(f"{place}/{name.as_posix()}", None, folder / name, (folder / name).stat().st_size)
            for name in files_of(folder, leave_out=())
        ]


def _whole(state: Path, name: str) -> list[Piece]:
    data = read_file(state / name)
    return [] if data is None else [Piece.of(f"{STATE_FOLDER}/{name}", data)]


def _folder(state: Path, name: str) -> list[Piece]:
    """Small files that may be replaced at any time, two levels deep at most."""
    folder = state / name
    with told(folder):
        names = sorted(path for path in folder.glob("*") if path.is_file() and path.suffix != ".new")
    return [piece for path in names for piece in _whole(state, path.relative_to(state).as_posix())]


def _receipts(state: Path) -> list[Piece]:
    folder = state / RECEIPTS_NAME
    with told(folder):
        names = sorted(folder.glob("*/*.jsonl"))
    return [piece for path in names for piece in _log(state, path.relative_to(state).as_posix())]


def _named(state: Path, name: str) -> list[Piece]:
    """Files called by their round; what was set aside as damaged stays behind."""
    folder = state / name
    with told(folder):
        paths = sorted(
            path for path in folder.glob("*") if path.name.partition("-")[0].isdecimal() and "." not in path.name
        )
        return [Piece(f"{STATE_FOLDER}/{name}/{path.name}", None, path, path.stat().st_size, True) for path in paths]


def _log(state: Path, name: str) -> list[Piece]:
    """A file that only grows, up to the end of its last whole line."""
    path = state / name
    with told(path):
        if not path.is_file():
            return []
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            while size_bytes:
                start = max(0, size_bytes - _READ_BYTES)
                file.seek(start)
                end = file.read(size_bytes - start).rfind(b"\n")
                if end >= 0:
                    size_bytes = start + end + 1
                    break
                size_bytes = start
    return [Piece(f"{STATE_FOLDER}/{name}", None, path, size_bytes)]
