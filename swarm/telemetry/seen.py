"""What somebody who watches a swarm can learn, as one tagged union: the input of the projection (`facts.py`).

Local event logs give `Logged`; an observer on the network gives the rest. Each says when it was true (`at`, Unix
seconds on its author's clock) or is true for good, so that it does not matter in which order they arrive. Nothing here
is verified: whoever makes one has done that.
"""

import msgspec

from swarm import events


class _Seen(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    pass


class RunSeen(_Seen, frozen=True, kw_only=True):
    """The charter, as it was founded or as an amendment has left it."""

    at: float
    run_id: str
    name: str
    admission: str
    min_contributors: int
    parameters: int
    regions: dict[str, tuple[str, ...]]
    """Jurisdictions by region."""


class Logged(_Seen, frozen=True, kw_only=True):
    """One line of a peer's event log."""

    peer: str
    at: float
    event: events.AnyEvent


class Announced(_Seen, frozen=True, kw_only=True):
    """A peer's signed entry in the directory."""

    peer: str
    at: float
    region: str
    member: str
    phase: str
    round: int
    tokens_per_s: float
    reach: str


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """One peer in a committed round."""

    peer: str
    region: str
    member: str
    tokens: int
    weight: int
    counted: bool
    """Whether its update is in at least one chunk."""


class Decided(_Seen, frozen=True, kw_only=True):
    """A commit record, verified by whoever made this."""

    round: int
    attempt: int
    leader: str
    seats: tuple[Seat, ...]
    votes: tuple[str, ...]
    """Who signed the certificate."""
    voters: int
    state_digest: str
    chain: int = 0
    """Which of the chains that its maker has followed; the highest is the one it is on."""
    accepting: float | None = None
    rejecting: float | None = None
    """Members' voices on quality, where they have rejected the candidate; None in other rounds."""


class Parted(_Seen, frozen=True, kw_only=True):
    """Whoever watches has gone over to another chain, which is the same up to `round`; records after it are void."""

    chain: int
    round: int


class Recipient(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes to one peer since the sender's node started."""

    peer: str
    region: str
    bytes: int


class RoundPart(msgspec.Struct, frozen=True, kw_only=True):
    """One peer's part in a round. What is not known is None."""

    at: float
    """Unix seconds of the commit on its clock; of the newest thing known of it while there is none."""
    committed: bool = False
    seconds: float | None = None
    form_s: float | None = None
    reduce_s: float | None = None
    inside_bytes: int | None = None
    """Sent inside the region since the node started, as of this round."""
    across_bytes: int | None = None
    loss: float | None = None
    tokens: int = 0


class Told(_Seen, frozen=True, kw_only=True):
    """What a peer publishes of itself."""

    peer: str
    at: float
    round: int
    isolation: str
    reach: str
    tokens_per_s: float
    loss: float | None
    bytes_by_kind: dict[str, int]
    refused: int
    denied: int
    aborted: int
    epsilon: float | None
    delta: float
    rounds: dict[int, RoundPart]
    links: tuple[Recipient, ...]


class Remark(_Seen, frozen=True, kw_only=True):
    """A sentence of whoever watches, about what it sees or cannot see; one for each subject, the newest."""

    subject: str
    at: float
    text: str
    """Empty takes the remark back."""


Seen = RunSeen | Logged | Announced | Decided | Parted | Told | Remark
