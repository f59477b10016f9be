"""Events of a peer's life: coming up, keeping up, its clock, its disk, its chain, what it sent and refused."""

import msgspec

from swarm.events.base import Event


class NodeStarted(Event, frozen=True, kw_only=True):
    peer: str
    run_id: str
    region: str
    member: str
    address: str
    """What others type after --join."""
    min_contributors: int
    electors: int
    witnesses: int
    admission: str


class CharterReady(Event, frozen=True, kw_only=True):
    """The charter is verified and saved; the trainer can be started."""

    path: str
    run_id: str
    parameters: int
    trust: str
    """"pinned" by --run-id, "remembered" from an earlier start, or "first use"."""


class Reachable(Event, frozen=True, kw_only=True):
    """How others reach this peer, as those it asked found by dialling it; again whenever that changes."""

    how: str
    """"direct"; "direct, without lanes" (parts to it go over libp2p); "behind NAT": it dials, and nobody dials it;
    "unknown": there is nobody to ask yet."""
    host: str
    """Where others see it; empty while that is unknown."""
    relays: tuple[str, ...]
    """Who joins streams to it, if it cannot be dialled."""
    asked: int
    """How many answered."""


class StateReady(Event, frozen=True, kw_only=True):
    """The Shared Base is here and its digest is the one a quorum signed."""

    round: int
    digest: str
    source: str
    """"disk", "replay" or "download"."""
    bytes_received: int
    seconds: float


class StateProgress(Event, frozen=True, kw_only=True):
    """A download of the Shared Base and its outer state, as far as it is."""

    round: int
    pieces: int
    """Verified."""
    pieces_total: int
    bytes_total: int
    """Of the whole state."""
    bytes_received: int
    """By this download: pieces kept from an earlier one are not in it, those that came twice are."""
    bytes_per_s: float
    """Since the event before."""
    donors: int
    """Peers that give at the moment."""


class CaughtUp(Event, frozen=True, kw_only=True):
    """Rounds committed without this peer were replayed or downloaded."""

    from_round: int
    to_round: int
    replayed: bool


class ClockWrong(Event, frozen=True, kw_only=True):
    """This machine's clock is not that of the others."""

    ahead_s: float
    """Ahead of the median of theirs; negative: behind."""
    peers: int
    """How many were asked and answered."""


class CheckpointSaved(Event, frozen=True, kw_only=True):
    """A restart begins from here; it was written beside the inner steps."""

    round: int
    seconds: float


class CheckpointFailed(Event, frozen=True, kw_only=True):
    """The disk refused a checkpoint: rounds go on as long as it takes votes and results."""

    round: int
    reason: str
    newest: int
    """The round of the checkpoint that a restart would begin from."""


class IslandBegan(Event, frozen=True, kw_only=True):
    """Too few electors answer this peer for anything to be committed: it is cut off, or they are gone."""

    round: int
    present: float
    """Voices: members', not peers'."""
    needed: float
    """More than these are needed."""
    missing: tuple[str, ...]
    """Who does not answer; enough of them must come back. Undialable peers cannot be asked."""
    trains: bool
    """Whether the charter lets it go on training locally meanwhile."""


class IslandEnded(Event, frozen=True, kw_only=True):
    """The quorum is back, or this peer has caught up with where it went on."""

    round: int
    updates: int
    """Times the trainer went on locally; what it made is in this peer's next update, or an `UpdateLate` follows."""


class Restarted(Event, frozen=True, kw_only=True):
    """The founders' restart is in force here: another electorate decides the open round."""

    term: int
    round: int
    """The last round that counts."""
    voters: int
    is_elector: bool


class RestartRefused(Event, frozen=True, kw_only=True):
    """A founders' restart that this peer cannot follow."""

    term: int
    reason: str


class ChainSwitched(Event, frozen=True, kw_only=True):
    """This peer left its chain for another one, from the last round they share on."""

    fork_round: int
    from_round: int
    to_round: int
    rounds_lost: int
    weight_lost: int
    """Contributions counted in the rounds that are lost, one per member and round."""
    weight_won: int
    """The same of the chain it has gone to, since the fork."""
    reason: str


class ChainsApart(Event, frozen=True, kw_only=True):
    """A better chain parted from this one too many rounds ago to go over by itself: a person has to decide."""

    peer: str
    """Who follows it."""
    rounds: int
    """This peer's rounds since then are at least so many."""
    reason: str


class LedgerForked(Event, frozen=True, kw_only=True):
    """Another peer's ledger is not the one it had signed before; both signed heads are kept as evidence."""

    peer: str
    known_entries: int
    shown_entries: int
    reason: str


class FrameRefused(Event, frozen=True, kw_only=True):
    """A peer sent something the protocol forbids; its stream was closed and nothing else changed."""

    peer: str
    reason: str


class SentTo(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that went to one peer."""

    peer: str
    region: str
    """Empty where it is not known, as for a bootstrap node."""
    bytes: int


class BytesOut(Event, frozen=True, kw_only=True):
    """Ledger totals since the node started."""

    round: int
    by_kind: dict[str, int]
    peers: int
    """Peers heard from in the directory, this one included."""
    sent_to: tuple[SentTo, ...] = ()
    """By recipient, most first; what went to the directory is not in it."""
    inside_bytes: int = 0
    """To peers of this one's region."""
    across_bytes: int = 0
    """To peers of other regions. A bootstrap node has no region, so what went there is in neither."""


class DirectoryKept(Event, frozen=True, kw_only=True):
    """How many records this node keeps or caches for the directory; said when it has changed."""

    records: int


class FirstCounted(Event, frozen=True, kw_only=True):
    """This peer's first counted contribution, and what the time until then went into: the parts add up to `seconds`."""

    round: int
    seconds: float
    """From the start of the command (`tapestry peer`, `swarm.join`) to the commit."""
    imports_s: float
    """Until the node had imported what it needs."""
    daemon_s: float
    """Until p2pd ran and was connected to one of those given to join."""
    charter_s: float
    """Until the charter was fetched and verified."""
    directory_s: float
    """Until the directory was entered."""
    state_s: float
    """Until a verified Shared Base was here."""
    steps_s: float
    """Until this peer's first update, what was left of its trainer's start included."""
    round_s: float
    """Until the commit that counted an update of this peer."""
    trainer_imports_s: float
    """What the built-in trainer's imports took, side by side with most of the above; 0 for somebody's own script."""


class Note(Event, frozen=True, kw_only=True):
    """Something a person may want to read that no decision depends on."""

    text: str


class NodeStopped(Event, frozen=True, kw_only=True):
    round: int
    saved: str
    """What was saved and where, in words."""
