"""Events of training and of rounds."""

from swarm.events.base import Event


class TrainerReady(Event, frozen=True, kw_only=True):
    isolation: str
    """What the trainer's process can reach: "network namespace" or "none"."""
    detail: str


UNKNOWN_LOSS = float("nan")
"""The loss of a trainer that reports none, or no finite number; JSON has no NaN, so the field is left out there."""


class TrainingProgress(Event, frozen=True, kw_only=True, omit_defaults=True):
    round: int
    step: int
    loss: float = UNKNOWN_LOSS
    tokens: int
    tokens_per_s: float


class UpdateReady(Event, frozen=True, kw_only=True, omit_defaults=True):
    round: int
    tokens: int
    loss: float = UNKNOWN_LOSS
    steps: int


class UpdateDenied(Event, frozen=True, kw_only=True):
    """The gate said no: nothing leaves this round."""

    round: int
    code: str
    reason: str


class UpdateLate(Event, frozen=True, kw_only=True):
    """The swarm committed a round without this peer's update; the charter's rule says what becomes of it."""

    round: int
    tokens: int
    """Of its inner steps so far, as far as they are known."""
    kept: bool
    """True: they go into the next round. False: they are dropped."""
    reason: str
    """Why, in words."""


class RoundPlanned(Event, frozen=True, kw_only=True):
    """How long this peer trains for a round, so that the swarm meets its token target with everybody in time."""

    round: int
    seconds: float
    swarm_tokens_per_s: float


class TrainerSetUp(Event, frozen=True, kw_only=True):
    """What the built-in trainer computes with; again whenever it has to take smaller micro-batches."""

    device: str
    """"cpu" or "cuda"."""
    name: str
    memory_bytes: int
    precision: str
    """"fp32", "bf16" or "fp16" (with loss scaling); the weights are float32 in all of them."""
    micro_batch: int
    """Sequences in memory at once; gradients are accumulated over as many as make a batch."""
    batch: int
    reason: str


class AttemptStarted(Event, frozen=True, kw_only=True):
    round: int
    attempt: int
    leader: str


class QuorumMissing(Event, frozen=True, kw_only=True):
    """Too few electors answer; nothing can be committed until more come back."""

    round: int
    present: int
    needed: int
    electors: int
    missing: tuple[str, ...]
    """Who must come back, as many of them as are needed."""


class RosterReady(Event, frozen=True, kw_only=True):
    round: int
    attempt: int
    leader: str
    peers: tuple[str, ...]
    form_s: float


class PeerLost(Event, frozen=True, kw_only=True):
    """A peer stopped answering during a round; `role` is what it was doing for us."""

    round: int
    peer: str
    role: str
    reason: str


class ChunkTakenOver(Event, frozen=True, kw_only=True):
    """A chunk's owner failed and the next peer in order reduces it."""

    round: int
    chunk: int
    owner: str


class Reduced(Event, frozen=True, kw_only=True):
    round: int
    attempt: int
    chunks: int
    reduce_s: float


class RoundCommitted(Event, frozen=True, kw_only=True):
    round: int
    attempt: int
    peers: tuple[str, ...]
    contributors: tuple[str, ...]
    """Peers counted in at least one chunk."""
    voters: int
    """Who votes on the next round, witnesses included."""
    state_digest: str
    seconds: float
    """From this peer's update to its new base."""


class RoundAborted(Event, frozen=True, kw_only=True):
    round: int
    attempt: int
    reason: str


class RoundInDoubt(Event, frozen=True, kw_only=True):
    """This peer voted and holds no record yet: it keeps its inputs, takes no step, and asks."""

    round: int
    attempt: int
