"""The record of every byte that left: one JSON line per frame, written before the frame goes.

Append-only. A line torn by a crash or a full disk is closed with a newline before the next one, never rewritten; its
frame did not leave. It counts payload bytes handed to the transport; transport encryption, acknowledgements and the
DHT's own upkeep come on top.
"""

import os
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import blake3
import msgspec

from swarm.clock import WallClock
from swarm.errors import StateError
from swarm.sovereignty.permit import Kind


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of `ledger.jsonl`."""

    at: float
    """Unix seconds."""
    peer: str
    """The recipient's peer id, or "directory" for announcements."""
    kind: Kind
    bytes: int
    digest: str
    """Hex BLAKE3 of the payload."""
    permit: str
    """Id of the permit the gate gave."""


class Ledger:
    """One peer's ledger; `totals` counts bytes by kind since it was opened."""

    def __init__(self, path: Path | None, clock: WallClock) -> None:
        """Opens `path` for appending; None keeps totals only (simulations).

        Raises:
            StateError: the file cannot be written.
        """
        self._clock = clock
        self._file: BinaryIO | None = None
        self._is_torn = False
        self.totals: Counter[Kind] = Counter()
        if path is not None:
            try:
                self._file = path.open("ab+", buffering=0)
                self._is_torn = _ends_inside_a_line(self._file)
            except OSError as error:
                raise StateError(f"cannot write the ledger {path}: {error.strerror}") from None

    def record(self, peer: str, kind: Kind, payload: bytes, permit_id: str) -> None:
        """Writes one line. Raises StateError when the disk refuses: then the frame must not go."""
        if self._file is not None:
            entry = Entry(
                at=self._clock(),
                peer=peer,
                kind=kind,
                bytes=len(payload),
                digest=blake3.blake3(payload).hexdigest(),
                permit=permit_id,
            )
            self._append(self._file, msgspec.json.encode(entry) + b"\n")
        self.totals[kind] += len(payload)

    def _append(self, file: BinaryIO, line: bytes) -> None:
        left = b"\n" + line if self._is_torn else line
        try:
            while left:
                written = file.write(left)  # an unbuffered write may take only a part; the next one says why
                self._is_torn = not left[:written].endswith(b"\n")
                left = left[written:]
        except OSError as error:
            raise StateError(f"cannot write the ledger, so nothing may leave: {error.strerror}") from None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_totals(path: Path) -> dict[str, int]:
    """Bytes by kind over a whole ledger file. Raises StateError naming the first bad line, or why it cannot be read."""
    totals: Counter[str] = Counter()
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                entry = _read_line(line, f"{path}, line {number}")
                totals[entry.kind] += entry.bytes
    except OSError as error:
        raise StateError(f"cannot read the ledger {path}: {error.strerror}") from None
    return dict(totals)


def _read_line(line: bytes, where: str) -> Entry:
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StateError(f"{where}: {error}") from None


def _ends_inside_a_line(file: BinaryIO) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"


_DECODER = msgspec.json.Decoder(Entry)
