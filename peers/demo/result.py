"""The pilot's result document, field by field as `tapestry demo --json` prints it. Data only."""

import msgspec

from peers.demo.sovereign_result import Sovereign


class LanguageScore(msgspec.Struct, frozen=True, kw_only=True):
    """Held-out bits per byte in one language; lower is better."""

    untrained: float
    shared: float
    alone: dict[str, float]
    """Per region, after as many inner steps of its own as it made in the swarm."""
    clear: float | None = None
    """Of the same members and rounds with updates averaged in the clear; measured under a privacy tier."""


class RoundRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One committed round."""

    round: int
    attempt: int
    contributors: tuple[str, ...]
    """Peers whose update was averaged."""
    peers: tuple[str, ...]
    """Peers in the roster."""
    seconds: float
    form_s: float
    """Of `seconds`: finding each other and closing the roster."""
    reduce_s: float
    """Of `seconds`: the all-reduce."""
    state_digest: str
    crossed: str = ""
    """How regions' sums crossed borders, as `RoundCommitted` says it."""


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """What differential privacy has cost one peer's text."""

    unit: str
    """What one record is."""
    epsilon: float
    """Cumulative, at `delta`, over all steps."""
    delta: float
    budget: float
    noise_multiplier: float
    max_grad_norm: float
    steps: int
    accountant: str


class PeerPrivacy(msgspec.Struct, frozen=True, kw_only=True):
    """How one peer's updates are protected."""

    member: str
    protections: tuple[str, ...]
    """Names of `swarm.sovereignty.uses.Privacy`."""
    spent: Spending | None = None
    ended_in_round: int | None = None
    """From which round on its budget was spent, and it trained no more."""


class MaskedWire(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of secure sums sent, by the ledgers of its peers."""

    masked_parts: int
    """Frames with a part of an update, of just the length of 16-bit elements under masks."""
    masked_bytes: int
    other_parts: int
    """Those of any other length."""
    parts_abroad: int
    """Those that went to another region, of whatever length."""
    self_masks: int
    """Frames that reveal one, or pass one on."""
    circles: dict[str, tuple[int, ...]]
    """By region, the members in its sum in each committed round."""
    ended: dict[str, int]
    """By code: how often a peer saw a sum come to nothing."""


class PrivacyOfRun(msgspec.Struct, frozen=True, kw_only=True):
    tier: str
    """What all members' policies demand; a name of `swarm.sovereignty.uses.Privacy`."""
    peers: dict[str, PeerPrivacy]
    masked: MaskedWire | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of the pilot found."""

    rounds_committed: int
    base_digests: dict[str, str]
    """Surviving peer to hex digest; one value when all hold the same Shared Base."""
    corpus: str
    bits_per_byte: dict[str, LanguageScore]
    bytes_sent: dict[str, dict[str, int]]
    """Per peer and kind of message, as its own ledger counts them."""
    report: str
    seconds: float
    regions: dict[str, str]
    """Peer to region."""
    notes: tuple[str, ...] = ()
    privacy: PrivacyOfRun | None = None
    killed: str | None = None
    joined: str | None = None
    settings: dict[str, str | int | float | bool | None] = {}
    loss: dict[str, tuple[tuple[int, float], ...]] = {}
    """Per peer, (round, mean inner training loss in nats per byte)."""
    rounds: tuple[RoundRecord, ...] = ()
    held_out_curve: tuple[tuple[int, float], ...] = ()
    """(round, held-out bits per byte of the Shared Base, averaged over the languages); may be empty."""
    sovereign: Sovereign | None = None
    """What came of `--build`."""
