"""The `sovereign` part of the pilot's result document: own models, where they come from, what left. Data only."""

import msgspec


class OwnScore(msgspec.Struct, frozen=True, kw_only=True):
    """Held-out bits per byte in one language; lower is better."""

    base: float
    """Of the untrained base, state 0."""
    shared: float
    """Of the Shared Base."""
    sovereign: dict[str, float]
    """Of each region's own model."""


class OwnStage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of a build, as its record says."""

    name: str
    method: str
    steps: int
    data: tuple[str, ...]
    label: str
    """The strictest of its data."""
    verdict: str
    reasons: tuple[str, ...]
    isolation: str
    """Level that its trainer reached, as it says itself."""
    loss: float | None
    """Training loss at the end, in nats per token; of `dpo` the preference loss, which begins at ln 2."""
    exposure_bits: float
    """Of the canary that is remembered best."""
    before: dict[str, float]
    """Held-out bits per byte by language, of the model that the stage began with."""
    after: dict[str, float]
    seconds: float


class LineageStage(msgspec.Struct, frozen=True, kw_only=True):
    """A stage as the statement names it."""

    name: str
    method: str
    result: str
    """Hex digest of its weights."""
    labels: tuple[str, ...]
    """Of its data sets, one each; their names and digests are on no statement."""


class OwnLineage(msgspec.Struct, frozen=True, kw_only=True):
    """A model's signed statement, and what its check has looked at."""

    signer: str
    signer_is: str
    """How the run's chain knows the signer."""
    run_id: str
    round: int
    state: str
    """Hex digest of the Shared Base's state."""
    contributed: dict[str, int]
    """By region, updates that went into the Shared Base, of all its peers."""
    members: dict[str, tuple[str, ...]]
    """By region."""
    stages: tuple[LineageStage, ...]
    records: int
    """Commit records that were verified, of `round`."""
    means: int
    """Rounds that were made again from the committed means."""
    is_base: bool
    """Whether what the build began from was found to be the Shared Base, bit for bit."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One region's own model."""

    member: str
    jurisdiction: str
    build: str
    """Path of the build's folder."""
    own: tuple[str, ...]
    """Languages it was trained on."""
    digest: str | None
    """Of BUILD/model; None if the gate has let no stage pass."""
    stages: tuple[OwnStage, ...]
    lineage: OwnLineage | None
    has_network: bool
    """Whether the command that trained ran with this machine's network; False if it was given an empty one."""

    @property
    def accepted(self) -> tuple[OwnStage, ...]:
        return tuple(stage for stage in self.stages if stage.verdict == "accepted")


class LedgerDuring(msgspec.Struct, frozen=True, kw_only=True):
    """One peer's ledger around the time of the builds."""

    entries: int
    root: str
    """Hex Merkle root after the builds."""
    verdict: str
    """Of the audit, against the heads that the other peers hold."""
    before: str
    after: str
    """Hex SHA-256 of the file before the builds and after them."""

    @property
    def is_unchanged(self) -> bool:
        return self.before == self.after


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What left a region, by the ledgers of its peers."""

    by_kind: dict[str, int]
    by_place: dict[str, int]
    """Where it went: a name of `peers.demo.what_left.Place`."""
    ledgers: dict[str, LedgerDuring]
    """By peer."""


class Sovereign(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the builds."""

    state_zero: str
    """Hex digest of the state that the charter names."""
    bits_per_byte: dict[str, OwnScore]
    models: dict[str, Model]
    """By region."""
    left: dict[str, Left]
    """By region."""
    seconds: float
