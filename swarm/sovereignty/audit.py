"""Checks a ledger offline, without trusting who wrote it: alone, and against heads that other peers hold.

Alone it can only be consistent with itself: lines whose checks and numbers follow from each other, and the heads its
owner signed. Whoever holds the key can write another such history, which is what witnesses are for: a head that an
honest peer was shown binds every entry under it. What lies after the newest witnessed head is bound by nobody.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from swarm.errors import ProtocolError, StateError
from swarm.identity.peer_id import PeerId, parse_peer_id
from swarm.sovereignty import statements
from swarm.sovereignty.entry import Entry, decode_line, event_of, follows
from swarm.sovereignty.heads import HEADS_NAME
from swarm.sovereignty.merkle import EMPTY_ROOT, Frontier
from swarm.sovereignty.on_wire import on_wire_bytes
from swarm.sovereignty.signed import Signed, TreeHead
from swarm.sovereignty.witness import WITNESS_NAME

_MOST_NAMED = 5
"""Faults that are written out; more of them are counted."""


class Code(StrEnum):
    """What is wrong with a ledger. Codes are stable."""

    EDITED = "edited"
    MISSING = "missing"
    REORDERED = "reordered"
    NOT_A_LEDGER = "not_a_ledger"
    TRUNCATED = "truncated"
    """Shorter than a head that was signed over it."""
    REWRITTEN = "rewritten"
    """Another history than a head was signed over."""
    FORKED = "forked"
    WRONG_SIGNER = "wrong_signer"


@dataclass(frozen=True)
class Fault:
    """One thing that does not hold, with a sentence for people."""

    code: Code
    text: str


@dataclass(frozen=True)
class HeldHead:
    """A tree head with a good signature, and the file that holds it."""

    author: PeerId
    head: TreeHead
    file: Path


@dataclass
class Replay:
    """A ledger file, read once from its first line to its last."""

    entries: int = 0
    torn: int = 0
    """Lines that a crash cut short; their frames did not leave."""
    totals: Counter[str] = field(default_factory=Counter[str])
    wire_bytes: int = 0
    """All of them as an interface would count them, estimated."""
    roots: dict[int, bytes] = field(default_factory=dict[int, bytes])
    """By size, where a head speaks of that size; and the whole ledger's."""
    faults: list[Fault] = field(default_factory=list[Fault])


@dataclass(frozen=True)
class Audit:
    """What an audit found."""

    ledger: str
    peer: str | None
    verdict: str
    """"self-consistent, unwitnessed", "witnessed" or "refuted"."""
    entries: int
    bytes: dict[str, int]
    """By kind."""
    wire_bytes: int
    """The same on an Ethernet, with headers, estimated (swarm.sovereignty.on_wire)."""
    root: str
    own_heads: int
    torn_lines: int
    witnesses: tuple[str, ...]
    """Files whose heads bind this ledger."""
    witnessed_entries: int
    unwitnessed_entries: int
    notes: tuple[str, ...]
    faults: tuple[str, ...]
    codes: tuple[str, ...]
    """What kinds of faults there are, each once."""
    later_heads: int = 0
    """Held by witnesses, and signed after the copy that was checked was made."""

    @property
    def text(self) -> str:
        sent = sum(self.bytes.values())
        lines = [f"{self.verdict}: {self.entries} entries, {sent} bytes sent, root {self.root}"]
        lines.append(f"about {self.wire_bytes} bytes on an Ethernet, headers included, acknowledgements not")
        lines.append(f"peer {self.peer or 'unknown'}, {self.own_heads} heads of its own")
        if self.witnesses:
            lines.append(
                f"witnessed: the first {self.witnessed_entries} entries, by {len(self.witnesses)} witness files; "
                f"unwitnessed tail: {self.unwitnessed_entries} entries"
            )
        return "\n".join([*lines, *self.notes])


def audit(ledger: Path, witnesses: Sequence[Path], owner: PeerId | None, *, until_s: float = math.inf) -> Audit:
    """Checks a ledger alone, and against the heads in `witnesses` (files, or folders of them).

    `until_s`: of a copy that was made then, in Unix seconds; heads that its owner signed later are counted only.

    Raises:
        StateError: a file cannot be read, or nobody can say whose ledger it is and there are witnesses.
    """
    own, notes = _own_heads(ledger)
    faults: list[Fault] = []
    owner = owner or _owner(own, ledger)
    faults += _strangers(own, owner)
    own = [held for held in own if held.author == owner]
    run_ids = {held.head.run_id for held in own}
    if witnesses and owner is None:
        raise StateError(f"nothing says whose ledger {ledger} is: give --peer")
    held: list[HeldHead] = []
    for path in witnesses:
        found, unsigned = read_heads(_statement_files(path))
        notes += unsigned
        held += [each for each in found if each.author == owner and (not run_ids or each.head.run_id in run_ids)]
    later = [each for each in held if each.head.at > until_s]
    held = [each for each in held if each.head.at <= until_s]
    replay = read_ledger(ledger, [each.head.size for each in (*own, *held)])
    faults += replay.faults
    faults += _against(own, replay, "its own head")
    faults += _forks([*held, *later])
    binding = _against(held, replay, "a witnessed head")
    faults += binding
    witnessed = max((each.head.size for each in held), default=0)
    if witnesses and not held:
        notes.append("no witness holds a head of this peer")
    if own and own[-1].head.size < replay.entries:
        notes.append(f"entries from {own[-1].head.size} on are under no head of its own yet")
    verdict = "refuted" if faults else "witnessed" if held else "self-consistent, unwitnessed"
    return Audit(
        ledger=str(ledger),
        peer=owner,
        verdict=verdict,
        entries=replay.entries,
        bytes=dict(replay.totals),
        wire_bytes=replay.wire_bytes,
        root=replay.roots[replay.entries].hex(),
        own_heads=len(own),
        torn_lines=replay.torn,
        witnesses=tuple(sorted({str(each.file) for each in held})),
        witnessed_entries=min(witnessed, replay.entries),
        unwitnessed_entries=max(0, replay.entries - witnessed),
        notes=tuple(notes),
        faults=tuple(_few([fault.text for fault in faults])),
        codes=tuple(dict.fromkeys(fault.code.value for fault in faults)),
        later_heads=len(later),
    )


def owner_of(ledger: Path) -> PeerId | None:
    """Whose ledger it is, by the heads beside it or by its folder's name. Raises StateError."""
    return _owner(_own_heads(ledger)[0], ledger)


def newest_head(ledger: Path) -> Signed:
    """The newest head beside a ledger. Raises StateError if there is none."""
    path = ledger.with_name(HEADS_NAME)
    good = [signed for signed in statements.read(path) if is_signed(signed)]
    if not good:
        raise StateError(f"no signed head lies beside {ledger}: nothing could be checked against it")
    return good[-1]


def is_signed(signed: Signed) -> bool:
    """Whether it is a tree head under its author's signature."""
    try:
        TreeHead.read(signed)
    except ProtocolError:
        return False
    return True


def read_ledger(path: Path, sizes: Iterable[int]) -> Replay:
    """Reads every line, and the roots at `sizes`. Raises StateError when the file cannot be read."""
    replay, edge, wanted, check = Replay(), Frontier(), set(sizes), 0
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    entry = decode_line(line)
                except ValueError:
                    replay.torn += 1
                    replay.faults += _torn_faults(number, line)
                    continue
                replay.faults += _line_faults(number, line, entry, replay.entries, check)
                check = entry.check
                replay.entries = entry.n + 1
                replay.totals[entry.kind] += entry.bytes
                replay.wire_bytes += on_wire_bytes(entry.bytes) if entry.bytes else 0
                edge.append(event_of(entry).leaf())
                if edge.size in wanted:
                    replay.roots[edge.size] = edge.root()
    except OSError as error:
        raise StateError(f"cannot read the ledger {path}: {error.strerror}") from None
    if not edge.size and replay.torn:
        replay.faults.append(Fault(Code.NOT_A_LEDGER, "no line of it is a ledger's"))
    replay.entries = edge.size
    replay.roots[edge.size] = edge.root() if edge.size else EMPTY_ROOT
    return replay


def _torn_faults(number: int, line: bytes) -> list[Fault]:
    """What a crash cuts short has no end; a line that has one was written by somebody else."""
    is_complete = line.rstrip().endswith(b"}")
    text = f"line {number}: not as a ledger writes its lines, so it was edited"
    return [Fault(Code.EDITED, text)] if is_complete else []


def _line_faults(number: int, line: bytes, entry: Entry, expected: int, check: int) -> list[Fault]:
    if entry.n > expected:
        return [Fault(Code.MISSING, f"line {number}: entries {expected} to {entry.n - 1} are missing")]
    if entry.n < expected:
        text = f"line {number}: entry {entry.n} stands where entry {expected} should: inserted or reordered"
        return [Fault(Code.REORDERED, text)]
    if not follows(line, entry, check):
        return [Fault(Code.EDITED, f"line {number}: entry {entry.n} was edited, or the one before it")]
    return []


def _against(held: Iterable[HeldHead], replay: Replay, what: str) -> list[Fault]:
    faults: list[Fault] = []
    for each in held:
        size = each.head.size
        if size > replay.entries:
            text = f"{what} in {each.file} is over {size} entries, the ledger has {replay.entries}: truncated"
            faults.append(Fault(Code.TRUNCATED, text))
        elif replay.roots[size] != each.head.root:
            text = f"{what} in {each.file} says otherwise about the first {size} entries: rewritten"
            faults.append(Fault(Code.REWRITTEN, text))
    return faults


def _forks(held: Sequence[HeldHead]) -> list[Fault]:
    """Two histories of one length, both signed: proof against their author that needs no ledger."""
    first: dict[tuple[str, int], HeldHead] = {}
    faults: list[Fault] = []
    for each in held:
        other = first.setdefault((each.head.run_id, each.head.size), each)
        if other.head.root != each.head.root:
            text = f"forked: {other.file} and {each.file} hold different heads over {each.head.size} entries"
            faults.append(Fault(Code.FORKED, text))
    return faults


def _strangers(own: Sequence[HeldHead], owner: PeerId | None) -> list[Fault]:
    others = [each for each in own if each.author != owner]
    return [Fault(Code.WRONG_SIGNER, f"wrong signer: {each.file} has a head by {each.author}") for each in others]


def _owner(own: Sequence[HeldHead], ledger: Path) -> PeerId | None:
    return own[-1].author if own else _named_by_folder(ledger)


def _own_heads(ledger: Path) -> tuple[list[HeldHead], list[str]]:
    path = ledger.with_name(HEADS_NAME)
    return read_heads([path]) if path.exists() else ([], ["no signed heads lie beside it"])


def read_heads(files: Iterable[Path]) -> tuple[list[HeldHead], list[str]]:
    """The heads with good signatures in these files, and what is to be said about the others. Raises StateError."""
    held: list[HeldHead] = []
    notes: list[str] = []
    for file in files:
        unsigned = 0
        for signed in statements.read(file):
            try:
                held.append(HeldHead(signed.author, TreeHead.read(signed), file))
            except ProtocolError:
                unsigned += 1
        if unsigned:
            notes.append(f"{unsigned} heads in {file} do not carry their author's signature and count for nothing")
    return held, notes


def _statement_files(path: Path) -> list[Path]:
    """The files of heads in a state folder, in a folder of such files, or the file itself."""
    if not path.is_dir():
        return [path]
    inside = path / WITNESS_NAME
    return sorted((inside if inside.is_dir() else path).glob("*.jsonl"))


def _named_by_folder(ledger: Path) -> PeerId | None:
    try:
        return parse_peer_id(ledger.absolute().parent.name)
    except ValueError:
        return None


def _few(faults: Sequence[str]) -> list[str]:
    left = len(faults) - _MOST_NAMED
    return [*faults[:_MOST_NAMED], f"and {left} more"] if left > 0 else list(faults)
