"""What left each region, from the ledgers of its peers: bytes by kind and by where they went. Reads files only.

A ledger is its owner's own record. What makes it more than that are the heads of it that other peers hold, against
which it is audited here.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from peers.demo.sovereign_result import LedgerDuring, Left
from swarm.errors import StateError
from swarm.identity.peer_id import parse_peer_id
from swarm.net.audited import DIRECTORY
from swarm.sovereignty.audit import audit
from swarm.sovereignty.ledger import DECIDED_BY, LEDGER_NAME, whole


class Place(StrEnum):
    """Where a frame went, seen from a region."""

    ABROAD = "to other regions"
    HOME = "inside the region"
    BOOTSTRAP = "to the bootstrap node"
    DIRECTORY = "to the directory"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class PeerFolder:
    """A peer's region and state folder."""

    peer: str
    region: str
    state: Path

    @property
    def ledger(self) -> Path:
        return self.state / LEDGER_NAME


def ledger_digests(peers: Sequence[PeerFolder]) -> dict[str, str]:
    """Hex SHA-256 of each peer's ledger file. Raises StateError."""
    return {each.peer: hashlib.sha256(_read(each.ledger)).hexdigest() for each in peers}


def what_left(peers: Sequence[PeerFolder], bootstrap: str, before: Mapping[str, str]) -> dict[str, Left]:
    """By region, what its peers sent, and whether their ledgers are still those of `before`.

    Args:
        bootstrap: peer id of the bootstrap node.
        before: `ledger_digests` of an earlier time.

    Raises:
        StateError: a ledger cannot be read.
    """
    after, found = ledger_digests(peers), dict[str, Left]()
    for region in dict.fromkeys(each.region for each in peers):
        by_kind, by_place = Counter[str](), Counter[str]()
        ledgers: dict[str, LedgerDuring] = {}
        for each in peers:
            if each.region != region:
                continue
            for line in _read(each.ledger).splitlines():
                entry = whole(line)  # a line that a kill has torn is of a frame that did not leave
                if entry is not None and entry.peer != DECIDED_BY:
                    by_kind[entry.kind] += entry.bytes
                    by_place[_place(entry.peer, region, peers, bootstrap)] += entry.bytes
            others = [other.state for other in peers if other is not each]
            seen = audit(each.ledger, others, parse_peer_id(each.peer))
            ledgers[each.peer] = LedgerDuring(
                entries=seen.entries,
                root=seen.root,
                verdict=seen.verdict,
                before=before[each.peer],
                after=after[each.peer],
            )
        found[region] = Left(by_kind=dict(by_kind), by_place=dict(by_place), ledgers=ledgers)
    return found


def _place(to: str, region: str, peers: Sequence[PeerFolder], bootstrap: str) -> Place:
    if to in (bootstrap, DIRECTORY):
        return Place.BOOTSTRAP if to == bootstrap else Place.DIRECTORY
    home = next((each.region for each in peers if each.peer == to), None)
    if home is None:
        return Place.ELSEWHERE
    return Place.HOME if home == region else Place.ABROAD


def _read(ledger: Path) -> bytes:
    try:
        return ledger.read_bytes()
    except OSError as error:
        raise StateError(f"cannot read the ledger {ledger}: {error.strerror}") from None
