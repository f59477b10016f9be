"""The record of every byte that left: one JSON line per frame, written before the frame goes, and a Merkle log over it.

Append-only. A line torn by a crash or a full disk is closed with a newline before the next one, never rewritten; its
frame did not leave. It counts payload bytes handed to the transport; transport encryption, acknowledgements and the
DHT's own upkeep come on top.

    STATE/ledger.jsonl    the lines (swarm.sovereignty.entry)
    STATE/ledger.tree     the log's nodes (swarm.sovereignty.tree_file)

A line is written with no hash but its payload's; `grow` takes what was written into the tree, O(log n) hashes each,
when a head is to be signed. What arrived is noted here too, for the receipts its senders get
(swarm.sovereignty.receipts).
"""

import asyncio
import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import blake3

from swarm.clock import WallClock
from swarm.errors import StateError
from swarm.identity.peer_id import PeerId
from swarm.sovereignty.entry import SALT_BYTES, Entry, Line, decode_line, encode_line, event_of, to_the_millisecond
from swarm.sovereignty.inbox import Buffer, Inbox
from swarm.sovereignty.merkle import Frontier, consistency_proof, peaks_of, root_of
from swarm.sovereignty.permit import Kind
from swarm.sovereignty.tree_file import TreeFile

LEDGER_NAME = "ledger.jsonl"
DECIDED_BY = "gate"
"""In place of a recipient, where an entry is a decision."""
_SALTS_AT_ONCE = 256
_NEAR_BYTES = 4 * 1024 * 1024
"""Of the ledger, searched for the tree's last entry: what the tree lacks after a crash is far less."""
_LINES_AT_ONCE = 64
"""Taken into the tree before others get a turn."""


class Ledger:
    """One peer's ledger; `totals` counts bytes by kind since it was opened."""

    def __init__(self, path: Path | None, clock: WallClock) -> None:
        """Opens `path` for appending; None keeps totals only (simulations).

        Raises:
            StateError: the file cannot be written, or is not a whole ledger.
        """
        self._clock = clock
        self._file: BinaryIO | None = None
        self._is_torn = False
        self.size = 0
        """Entries on file."""
        self._check = 0
        self._salts: list[bytes] = []
        self._log: _Log | None = None
        self.totals: Counter[Kind] = Counter()
        self.sent_to: Counter[str] = Counter()
        """Bytes by recipient since it was opened."""
        self.inbox: Inbox | None = None if path is None else Inbox()
        """What arrived; None in a ledger that keeps totals only."""
        if path is not None:
            try:
                self._open(path)
            except OSError as error:
                self.close()
                raise StateError(f"cannot write the ledger {path}: {error.strerror}") from None
            except StateError:
                self.close()
                raise

    def _open(self, path: Path) -> None:
        if path.exists() and not path.is_file():
            raise StateError(f"cannot write the ledger {path}: it is not a file")
        self._file = path.open("ab+", buffering=0)
        self._is_torn = _ends_inside_a_line(self._file)
        self._log = _Log(path)
        for _ in self._log.grow():
            pass
        if self._log.last is not None:
            self.size, self._check = self._log.last.n + 1, self._log.last.check

    @property
    def is_kept(self) -> bool:
        """Whether there is a file, and so a log to show."""
        return self._log is not None

    def record(self, peer: str, kind: Kind, payload: bytes, permit_id: str) -> None:
        """Writes one line. Raises StateError when the disk refuses: then the frame must not go."""
        if self._file is not None:
            at = to_the_millisecond(self._clock())
            digest = blake3.blake3(payload).hexdigest()
            self._append(self._file, Line(self.size, at, peer, kind, len(payload), digest, permit_id, self._salt()))
        self.totals[kind] += len(payload)
        self.sent_to[peer] += len(payload)

    def note(self, content: bytes, line: str) -> None:
        """Enters what left nothing: a decision of the gate, as its line and with the digest of its content.

        Raises StateError when the disk refuses: then what was decided must not be acted on.
        """
        if self._file is not None:
            at, digest = to_the_millisecond(self._clock()), blake3.blake3(content).hexdigest()
            self._append(self._file, Line(self.size, at, DECIDED_BY, Kind.DECISION, 0, digest, line, self._salt()))

    def received(self, peer: PeerId, payload: Buffer) -> None:
        """Notes a frame that arrived, for the receipt its sender gets."""
        if self.inbox is not None:
            self.inbox.note(peer, payload)

    async def grow(self) -> int:
        """Takes every line into the Merkle log; its size. No crash can lose these entries any more.

        Raises:
            StateError: the disk refuses, or somebody has edited the file meanwhile.
        """
        assert self._file is not None and self._log is not None
        try:
            await asyncio.to_thread(os.fsync, self._file.fileno())
            for _ in self._log.grow():
                await asyncio.sleep(0)
        except OSError as error:
            raise StateError(f"cannot write the ledger, so nothing may leave: {error.strerror}") from None
        return self._log.edge.size

    def root(self, size: int) -> bytes | None:
        """The Merkle root of the first `size` entries; None where fewer are in the log."""
        assert self._log is not None
        return self._log.root(size)

    def proof(self, old_size: int, new_size: int) -> list[bytes]:
        """That the first `old_size` entries are the beginning of the first `new_size`; empty where there is none."""
        assert self._log is not None
        return self._log.proof(old_size, new_size)

    def _salt(self) -> bytes:
        """Two salts of an entry, from the system's generator; asking it for many at once is what makes them cheap."""
        if not self._salts:
            drawn = os.urandom(_SALTS_AT_ONCE * 2 * SALT_BYTES)
            self._salts = [drawn[at : at + 2 * SALT_BYTES] for at in range(0, len(drawn), 2 * SALT_BYTES)]
        return self._salts.pop()

    def _append(self, file: BinaryIO, line: Line) -> None:
        data, check = encode_line(line, self._check)
        left = b"\n" + data if self._is_torn else data
        try:
            while left:
                written = file.write(left)  # an unbuffered write may take only a part; the next one says why
                self._is_torn = not left[:written].endswith(b"\n")
                left = left[written:]
        except OSError as error:
            raise StateError(f"cannot write the ledger, so nothing may leave: {error.strerror}") from None
        finally:
            if left in (b"", b"\n"):  # a line that lacks its newline only is an entry to everybody who reads it
                self.size, self._check = self.size + 1, check

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._log is not None:
            self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Log:
    """The Merkle log over a ledger file, as far as it was read."""

    def __init__(self, path: Path) -> None:
        """Opens the file, and what an earlier process has made of it. Raises OSError."""
        self._path = path
        self._lines = path.open("rb")
        self._tree = TreeFile(path.with_suffix(".tree"))
        self.last = self._find(self._tree.size - 1)
        """The entry taken in last."""
        if self.last is None:
            self._lines.seek(0)
        self._tree.cut(0 if self.last is None else self.last.n + 1)
        self.edge = Frontier(self._tree.size, peaks_of(self._tree.node, self._tree.size))

    def grow(self) -> Generator[None]:
        """Takes in what was appended, some lines at a time. Raises OSError or StateError."""
        taken = 0
        while line := self._lines.readline():
            entry = whole(line)
            if entry is not None:
                if entry.n != self.edge.size:
                    raise StateError(
                        f"the ledger {self._path} was edited or is damaged: see `tapestry audit verify {self._path}`"
                    )
                self._tree.add(self.edge.append(event_of(entry).leaf()))
                self.last = entry
            taken += 1
            if not taken % _LINES_AT_ONCE:
                yield
        self._tree.flush()

    def root(self, size: int) -> bytes | None:
        return root_of(self._tree.node, size) if size <= self.edge.size else None

    def proof(self, old_size: int, new_size: int) -> list[bytes]:
        if not old_size <= new_size <= self.edge.size:
            return []
        return consistency_proof(self._tree.node, old_size, new_size)

    def close(self) -> None:
        self._lines.close()
        self._tree.close()

    def _find(self, number: int) -> Entry | None:
        """Goes to where an entry ends, and returns it; None if it is not near the end of the file or not the tree's."""
        if number < 0:
            return None
        self._lines.seek(max(0, self._lines.seek(0, os.SEEK_END) - _NEAR_BYTES))
        while line := self._lines.readline():
            entry = whole(line)
            if entry is not None and entry.n == number:
                return entry if event_of(entry).leaf() == self._tree.node(0, number) else None
        return None


def read_totals(path: Path) -> dict[str, int]:
    """Bytes by kind over a whole ledger file. Raises StateError naming the first bad line, or why it cannot be read."""
    totals: Counter[str] = Counter()
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    entry = decode_line(line)
                except ValueError as error:
                    raise StateError(f"{path}, line {number}: {error}") from None
                totals[entry.kind] += entry.bytes
    except OSError as error:
        raise StateError(f"cannot read the ledger {path}: {error.strerror}") from None
    return dict(totals)


def whole(line: bytes) -> Entry | None:
    """The entry in a line, or None for one that was torn."""
    try:
        return decode_line(line)
    except ValueError:
        return None


def _ends_inside_a_line(file: BinaryIO) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"
