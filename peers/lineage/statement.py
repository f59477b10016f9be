"""The statement about one model: in-toto Statement v1 with a predicate of this project's, and the rules it must keep.

    subject      the model's files, each with its digests
    predicate    kind, parents, the run and its rounds, data, privacy spent, evaluation, stages, code

Two domains: what a run shares (the Shared Base) and what is a member's own (a build). The arrow goes one way: a build
descends from a Shared Base, never the reverse. Data sets appear as their tier may see them; fields of the private tier
(names, digests, salts) have no place in the type at all. Pure; signatures are in `dsse.py`.
"""

from typing import Literal

import msgspec

from peers.lineage.subjects import Subject
from swarm.charter.manifest import SecureSum
from swarm.errors import LineageError
from swarm.identity.peer_id import PeerId
from swarm.sovereignty.artefacts import Artefact, view
from swarm.sovereignty.entry import Tier
from swarm.sovereignty.labels import Label
from swarm.sovereignty.uses import Use
from swarm.state.run import Run

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:tapestry-swarm:lineage:v1"
STATE_DIGEST = "tapestryState"
"""Algorithm name of a Merkle root over base and outer-optimiser state (swarm.vector.digest)."""
WEIGHTS_DIGEST = "tapestryWeights"
"""Algorithm name of a digest over a folder's safetensors files (peers.build.weights)."""

Domain = Literal["shared", "sovereign"]
Relation = Literal["shared-base", "fine-tune", "adapter", "rebase", "withdrawn"]
"""What `withdrawn` names was a Shared Base when stages were trained on it, and its round was taken back since."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the predicate: unknown keys are refused."""


class Parent(_Part, frozen=True, kw_only=True):
    """What a model was made from, and how."""

    relation: Relation
    domain: Domain
    name: str
    digest: dict[str, str]


class Base(_Part, frozen=True, kw_only=True):
    """A point of a run's chain: the Shared Base itself, or the one that a build began from."""

    run_id: str
    run_name: str
    round: int
    record: str
    """Hex digest of its commit record; empty for round 0."""
    state: str
    """Hex state digest."""
    epoch: int
    """Of the charter in force then."""


class Counted(_Part, frozen=True, kw_only=True):
    """One seat of a roster, over a span of rounds."""

    peer: PeerId
    member: str
    region: str
    weight: int
    rounds: int
    """In how many of them its update went into the mean of some chunk."""
    tokens: int = 0
    """That it has said it trained on in those rounds, repetitions included."""


class Span(_Part, frozen=True, kw_only=True):
    """Successive rounds with one roster and the same weights."""

    first: int
    last: int
    rejected: int
    """Rounds that a vote on quality left without effect."""
    roster: tuple[Counted, ...]


class DataSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A data set as the statement's tier may see it; the id is a salted commitment to its name and content."""

    artifact_id: str
    artifact_type: Literal["dataset"]
    visibility: Label
    use_constraints: tuple[str, ...]
    quality: str
    owner: str = ""
    rights: tuple[str, ...] = ()
    residency: tuple[str, ...] | None = None
    """None for everywhere, and where the tier does not show it."""
    privacy: tuple[str, ...] = ()
    language: str = ""
    lineage: tuple[str, ...] = ()


class PrivacySpent(_Part, frozen=True, kw_only=True):
    """What the signer's own records have paid so far: of its account, over all rounds."""

    epsilon: float
    delta: float
    steps: int
    noise_multipliers: tuple[float, ...]
    accountant: str


class Measure(_Part, frozen=True, kw_only=True):
    name: str
    value: float
    unit: str = ""


class Stage(_Part, frozen=True, kw_only=True):
    """One step of a build."""

    name: str
    method: str
    parent: str
    """Hex digest of what it began from: the base's weights, or an earlier stage's result."""
    result: str
    data: tuple[str, ...]
    """Ids in `Lineage.data`."""
    evaluation: tuple[Measure, ...]
    isolation: str
    """Level of the process that trained it, as it reports itself."""
    started: float
    finished: float


class Code(_Part, frozen=True, kw_only=True):
    version: str
    digest: str
    """Hex BLAKE3 over the sources of the packages that made the model."""


class Lineage(_Part, frozen=True, kw_only=True):
    """The predicate."""

    version: Literal[1] = 1
    kind: Literal["shared-base", "build"]
    made_at: float
    """Unix seconds, on the signer's clock."""
    tier: Tier
    """Who the data sets are shown to."""
    parents: tuple[Parent, ...]
    base: Base
    rounds: tuple[Span, ...]
    """From round 1 up to the base's."""
    data: tuple[DataSource, ...]
    """Data sets of the signer; other members' are on their own records."""
    privacy: PrivacySpent | None = None
    evaluation: tuple[Measure, ...] = ()
    """Of a build, after its last stage; of a Shared Base, members' votes on it (they are on record) and what its signer
    has measured."""
    stages: tuple[Stage, ...] = ()
    code: Code

    @property
    def domain(self) -> Domain:
        return "shared" if self.kind == "shared-base" else "sovereign"


class Statement(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"type_": "_type", "predicate_type": "predicateType"},
):
    type_: Literal["https://in-toto.io/Statement/v1"] = STATEMENT_TYPE
    subject: tuple[Subject, ...]
    predicate_type: Literal["urn:tapestry-swarm:lineage:v1"] = PREDICATE_TYPE
    predicate: Lineage


def encode(statement: Statement) -> bytes:
    """The payload that is signed."""
    return msgspec.json.encode(statement)


def decode(payload: bytes, what: str) -> Statement:
    """The statement in a verified payload; `what` names it in messages. Its rules are not checked yet.

    Raises:
        LineageError: it is not one.
    """
    try:
        return msgspec.json.decode(payload, type=Statement)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LineageError(f"{what} is not a statement about a model: {error}") from None


def source_of(artefact: Artefact, tier: Tier) -> DataSource:
    """A data set as a tier may see it. The private tier is nobody's who reads a statement."""
    assert tier is not Tier.PRIVATE, "a statement is for others"
    return msgspec.convert(view(artefact, tier), DataSource)


def check_rules(lineage: Lineage) -> None:
    """Whether a statement can be true at all, with nothing else at hand.

    Raises:
        LineageError: a shared model with a parent or with data of somebody's own, or a parent that is missing.
    """
    if not lineage.parents:
        raise LineageError("the statement names no parent: every model here descends from a run's state 0")
    if lineage.domain == "shared":
        _check_shared(lineage)
    elif lineage.parents[0].digest.get(STATE_DIGEST) != lineage.base.state:
        raise LineageError("the statement's first parent is not the Shared Base that it names")
    use = Use.SHARED_BASE if lineage.domain == "shared" else Use.SOVEREIGN_BUILD
    for source in lineage.data:
        if use not in source.use_constraints:
            raise LineageError(f"data set {source.artifact_id[:16]}... may not be used for a {use.value}")
    _check_stages(lineage)


def check_private_data(lineage: Lineage, run: Run) -> None:
    """Whether private data in a shared model was under a protection. Raises LineageError."""
    if lineage.domain == "sovereign" or isinstance(run.charter.aggregation, SecureSum) or lineage.privacy is not None:
        return
    for source in lineage.data:
        if source.visibility is Label.PRIVATE:
            raise LineageError(
                f"a shared model made from private data ({source.artifact_id[:16]}...) without any protection on record"
            )


def _check_shared(lineage: Lineage) -> None:
    for parent in lineage.parents:
        if parent.domain != "shared" or parent.relation != "shared-base":
            raise LineageError(f"a private parent inside a shared model: {parent.name} ({parent.relation})")
    if lineage.stages:
        raise LineageError("a private parent inside a shared model: the statement has the stages of a build")


def _check_stages(lineage: Lineage) -> None:
    known = {value for parent in lineage.parents for value in parent.digest.values()}
    sources = {source.artifact_id for source in lineage.data}
    for stage in lineage.stages:
        if stage.parent not in known:
            raise LineageError(
                f"a missing parent: stage {stage.name} began from {stage.parent[:16]}..., which is nothing here"
            )
        unknown = [each for each in stage.data if each not in sources]
        if unknown:
            raise LineageError(f"stage {stage.name} names data that the statement does not: {unknown[0][:16]}...")
        known.add(stage.result)
