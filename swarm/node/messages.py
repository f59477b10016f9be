"""What a trainer process and its node process say to each other: one JSON line each, typed, and read with care.

A trainer that is kept from the network could hide data in what it reports: so its figures are made coarse, and those
that depend on private records are left out.
"""

import msgspec

from swarm import events
from swarm.errors import ModelError
from swarm.net.wire import MAX_ROUND
from swarm.sovereignty.privacy import Receipt

MAX_REPORT_BYTES = 4096
"""A trainer's longest message."""
_LOSS_DIGITS = 4
"""Of figures that are only shown or estimated: a trainer cannot hide much in them."""


class Message(msgspec.Struct, frozen=True, tag=True, tag_field="t", forbid_unknown_fields=True):
    """One JSON line on the control socket."""


class Confined(Message, frozen=True):
    """The first message of a trainer's launcher, before the trainer runs: how far the kernel keeps it in."""

    isolation: str
    """A level of `swarm.isolation.levels`."""
    detail: str


class TrainerHello(Message, frozen=True):
    schema_digest: str


class Progress(Message, frozen=True):
    round: int
    step: int
    loss: float | None
    """None if the trainer reports none, or it is no finite number."""
    tokens: int
    tokens_per_s: float


class UpdateMade(Message, frozen=True):
    round: int
    tokens: int
    loss: float | None
    """None if the trainer reports none, or it is no finite number."""
    steps: int
    tokens_per_s: float = 0.0
    step_s: float = 0.0
    """What the shortest step takes."""
    receipt: Receipt | None = None
    """For the differential privacy that all steps so far have cost; None without it."""


class Imported(Message, frozen=True):
    """The built-in trainer has imported what it needs."""

    seconds: float
    """Since its process was started."""


class SetUp(Message, frozen=True):
    """What the built-in trainer computes with."""

    event: events.TrainerSetUp


class Scored(Message, frozen=True):
    """What the trainer makes of the base it was asked to score."""

    number: int
    """Of the question."""
    loss: float | None
    """On its held-out data; None if it has none, or the loss is no finite number."""
    has_diverged: bool = False
    """Whether it is no finite number."""


class Yielded(Message, frozen=True):
    """The trainer has given up a round's inner steps and waits for a base."""

    round: int


class Begin(Message, frozen=True):
    """First message of a node."""

    charter: str
    """The run's verified charter, as TOML: a confined trainer cannot open the state folder."""


class Base(Message, frozen=True):
    """Train from the vector in `base_N`."""

    round: int
    seconds: float | None = None
    """For so long; without it the charter's number of inner steps."""


class GoOn(Message, frozen=True):
    """No quorum can be reached: make the charter's number of inner steps more, from the weights as they are."""

    round: int


class TrainBeside(Message, frozen=True):
    """No quorum can be reached, and the last update must stay as it is: make inner steps until `Finish`.

    They start from the weights as they are, and become an update of their own.
    """

    round: int


class Score(Message, frozen=True):
    """Score the base in `base_N`; the trainer's own weights stay what they were.

    It comes only while the trainer waits, or trains beside an update.
    """

    number: int


class Finish(Message, frozen=True):
    """Hand over the update after the step that is being made."""

    round: int


class Abandon(Message, frozen=True):
    """The round is over without this trainer."""

    round: int


class Stop(Message, frozen=True):
    """The node is done; `base_N` holds the Shared Base of `round` committed rounds."""

    round: int
    reason: str


FromTrainer = Confined | Imported | TrainerHello | SetUp | Progress | UpdateMade | Scored | Yielded
FromNode = Begin | Base | GoOn | TrainBeside | Score | Finish | Abandon | Stop


def withheld(message: FromTrainer, step_tokens: int) -> FromTrainer:
    """A report without what depends on private records: no loss, no pace, and tokens as the charter has them."""
    match message:
        case Progress():
            tokens = message.step * step_tokens
            return msgspec.structs.replace(message, loss=None, tokens=tokens, tokens_per_s=0.0)
        case UpdateMade():
            tokens = message.steps * step_tokens
            return msgspec.structs.replace(message, loss=None, tokens=tokens, tokens_per_s=0.0)
        case _:
            return message


def read_order(line: bytes) -> FromNode:
    """A node's message."""
    return _FROM_NODE.decode(line)


def read_report(line: bytes) -> FromTrainer:
    """A trainer's message, its figures made coarse. Raises ModelError for what is none."""
    try:
        message = _FROM_TRAINER.decode(line)
    except msgspec.DecodeError:
        raise ModelError("the trainer sent its node something that is no message") from None
    if isinstance(message, Progress | UpdateMade):
        if not 0 <= message.tokens <= MAX_ROUND:
            raise ModelError(f"the trainer says that it has seen {message.tokens} tokens")
        loss = None if message.loss is None else _coarse(message.loss)
        return msgspec.structs.replace(message, loss=loss, tokens_per_s=_coarse(message.tokens_per_s))
    if isinstance(message, Scored) and message.loss is not None:
        return msgspec.structs.replace(message, loss=_coarse(message.loss))
    if isinstance(message, Imported):
        return Imported(_coarse(message.seconds))
    return message


def _coarse(value: float) -> float:
    return float(f"{value:.{_LOSS_DIGITS}g}")


_FROM_NODE = msgspec.json.Decoder(FromNode)
_FROM_TRAINER = msgspec.json.Decoder(FromTrainer)
