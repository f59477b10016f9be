"""Events of training and of rounds."""

from typing import Literal

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


class PrivacySpent(Event, frozen=True, kw_only=True):
    """What differential privacy has cost this peer's data so far, over all rounds, when an update was handed over."""

    round: int
    unit: str
    """"sequence" or "document": what one record is."""
    epsilon: float
    delta: float
    budget: float
    """The epsilon at which training stops."""
    noise_multiplier: float
    max_grad_norm: float
    steps: int
    accountant: str


class PrivacyBudgetSpent(Event, frozen=True, kw_only=True):
    """One more step would pass the budget: this peer trains no more, and receives what the others make."""

    round: int
    epsilon: float
    budget: float


class UpdateDenied(Event, frozen=True, kw_only=True):
    """The gate said no: nothing leaves this round."""

    round: int
    code: str
    """One of `swarm.sovereignty.reasons`; it never changes its meaning."""
    reason: str
    policy: str = ""
    """Hex digest of the policy that was followed."""


class PolicyInForce(Event, frozen=True, kw_only=True):
    """What binds this peer's updates from here on; the ledger has an entry of the same digest."""

    policy: str
    """Hex SHA-256 of the policy file's canonical form; empty if there is none."""
    label: str
    """The strictest of its data."""
    uses: tuple[str, ...]
    """What all of its data may be used for."""
    privacy: tuple[str, ...]
    """Protections that were demanded and are in force."""
    datasets: int


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
    present: float
    """Voices: members', not peers'."""
    needed: float
    """More than these are needed."""
    electors: int
    """Voices there are."""
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


class SecureSumEnded(Event, frozen=True, kw_only=True):
    """A secure sum came to nothing, and with it the attempt."""

    round: int
    attempt: int
    code: str
    """One of `swarm.round.secure.phases.Code`; it never changes its meaning."""
    reason: str
    is_spent: bool
    """Whether this peer had revealed its self-mask: then its update is lost, and training starts over."""


class RoundCommitted(Event, frozen=True, kw_only=True):
    round: int
    attempt: int
    peers: tuple[str, ...]
    contributors: tuple[str, ...]
    """Peers counted in at least one chunk."""
    voters: int
    """Peers that vote on the next round, witnesses included."""
    state_digest: str
    seconds: float
    """From this peer's update to its new base."""
    crossed: Literal["", "members", "few", "single", "masked"] = ""
    """How the regions' sums crossed borders: as sums of enough members ("members"), as sums some of which are of two
    members only ("few") or of one ("single"), as the charter lets them, or masked together; empty where none did."""
    is_thin: bool = False
    """Whether the loss of one of these voters can leave no quorum."""


class RoundRejected(Event, frozen=True, kw_only=True):
    """Members found the candidate base worse on their own held-out data: the round is over, and the base as it was."""

    round: int
    attempt: int
    peers: tuple[str, ...]
    accepting: float
    """Voices: members', not peers'."""
    rejecting: float
    silent: int
    """Members that said nothing; the charter says what they count as."""
    state_digest: str
    """Of the base, unchanged."""
    seconds: float


class RoundAborted(Event, frozen=True, kw_only=True):
    round: int
    attempt: int
    reason: str


class RoundInDoubt(Event, frozen=True, kw_only=True):
    """This peer voted and holds no record yet: it keeps its inputs, takes no step, and asks."""

    round: int
    attempt: int
