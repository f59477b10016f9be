"""The pilot's result document, field by field as `tapestry demo --json` prints it. Data only."""

import msgspec


class LanguageScore(msgspec.Struct, frozen=True, kw_only=True):
    """Held-out bits per byte in one language; lower is better."""

    untrained: float
    shared: float
    alone: dict[str, float]
    """Per region, after as many inner steps of its own as it made in the swarm."""


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
    killed: str | None = None
    joined: str | None = None
    settings: dict[str, str | int | float | bool | None] = {}
    loss: dict[str, tuple[tuple[int, float], ...]] = {}
    """Per peer, (round, mean inner training loss in nats per byte)."""
    rounds: tuple[RoundRecord, ...] = ()
    held_out_curve: tuple[tuple[int, float], ...] = ()
    """(round, held-out bits per byte of the Shared Base, averaged over the languages); may be empty."""
