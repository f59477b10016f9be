"""The charter's payload: everything that changes the maths or the rules of a run, and nothing else.

Pure data; the limits and the consistency rules are in `rules.py`, signing in `signing.py`, files in
`files.py`. Every peer of a run holds the same charter; what differs between machines is the peer's own
configuration and never enters here.
"""

from fractions import Fraction
from typing import Literal

import msgspec

from swarm.identity.peer_id import PeerId


# frozen and kw_only are inherited; they are repeated below because type checkers do not see that.
class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the charter: unknown keys are refused, so that a typo never weakens a rule."""


class Run(_Part, frozen=True, kw_only=True):
    name: str
    created: int
    """Unix seconds; makes two charters with the same text two different runs."""
    expires: int
    """Unix seconds; from then on the charter is refused."""


class Model(_Part, frozen=True, kw_only=True):
    config_json: str = ""
    """A `transformers` causal LM config as JSON; empty when members bring the model themselves (library use).
    """
    parameters: int
    """Elements of the flat float32 vector."""
    schema_digest: str
    """Hex SHA-256 over the sorted (name, shape) pairs of the parameters."""
    state_digest: str
    """Hex digest of state 0: the untrained base and the zeroed outer-optimiser state."""
    checkpoint_digest: str = ""
    """Hex BLAKE3 over the files of the checkpoint folder that state 0 was taken from; empty if it was made anew."""
    tokenizer_digest: str = ""
    """The same over its tokenizer, whose tokens the built-in trainer's are then; empty where they are bytes."""


class Training(_Part, frozen=True, kw_only=True):
    mode: Literal["diloco", "gradient"] = "diloco"
    """`diloco`: inner steps, then the pseudo-gradient; `gradient`: accumulated gradients (open data only)."""
    inner_steps: int = 10
    """Inner steps (or, in `gradient` mode, micro-batches) between two rounds."""
    target_tokens: int = 0
    """Tokens after which the swarm ends a round: all stop at about the same time, the fast ones after more inner steps.
    0: every peer makes `inner_steps`, however long it takes; so does a run's first round, when no pace is known yet."""
    late: Literal["carry", "drop"] = "carry"
    """What becomes of an update that a round was committed without: it goes into the next round, or is dropped."""
    batch_size: int = 4
    """Sequences per inner step of the built-in trainer."""
    sequence_length: int = 256
    """Bytes per sequence of the built-in trainer; tokens, where the charter names a tokenizer."""
    inner_lr: float = 2e-3
    """AdamW learning rate of the built-in trainer."""
    inner_weight_decay: float = 0.1


class Nesterov(_Part, frozen=True, kw_only=True, tag="nesterov", tag_field="kind"):
    """Outer SGD with Nesterov momentum (DiLoCo, arXiv 2311.08105)."""

    lr: float = 0.7
    momentum: float = 0.9


class AdamW(_Part, frozen=True, kw_only=True, tag="adamw", tag_field="kind"):
    """Outer AdamW (arXiv 1711.05101); the usual choice in `gradient` mode."""

    lr: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.1


Outer = Nesterov | AdamW


Codec = Literal["float32", "bfloat16", "int8", "int4"]
BLOCK_ELEMENTS = {"int8": 128, "int4": 64}
"""The block size of each codec that has blocks, chosen by measurement (docs/decisions.md)."""


CROSSING_MEMBERS = 3
"""Distinct members without which a sum that is not masked crosses no border, unless the charter lets single updates
cross: in a sum of two, each sees the other's update."""


class Reduce(_Part, frozen=True, kw_only=True):
    codec: Codec = "int8"
    block_elements: int = 128
    """Elements that share one scale in `int8` and `int4`; the others have no blocks. `BLOCK_ELEMENTS` suit each."""
    chunk_elements: int = 262_144
    """Elements that one owner reduces at a time."""
    levels: Literal[1, 2] = 2
    """2: regions reduce among themselves first, and only their sums cross a border; 1: all peers are one group."""
    max_rms: float = 10.0
    """Root mean square that no chunk of a part may exceed: an update above it is not sent, and not counted."""
    min_contributors: int = 3
    """Members an aggregate must hold to cross a border; over several regions below 3 only with what follows."""
    single_update_may_cross: bool = False
    """Whether regions of fewer members may let their sums out as well, single updates too; every screen says so."""

    @property
    def least_members(self) -> int:
        """Members that an aggregate must hold to cross a border in any case."""
        return 1 if self.single_update_may_cross else max(CROSSING_MEMBERS, self.min_contributors)


class Mean(_Part, frozen=True, kw_only=True, tag="mean", tag_field="kind"):
    """Owners of chunks read the single updates of their region and average them."""


class SecureSum(_Part, frozen=True, kw_only=True, tag="secure_sum", tag_field="kind"):
    """Owners of chunks see sums only: updates are masked, 16 bits per element (docs/round.md, Secure sums)."""

    bits: int = 8
    """Of a quantised element before it is masked. The sum of all has to fit into 16."""
    block_elements: int = 4096
    """Elements that share one range: a power of two."""
    initial_rms: float = 0.01
    """Root mean square that round 1 expects of every block; later rounds go by the mean of the round before."""
    floor_rms: float = 1e-5
    """No block is expected to have less."""
    kappa: float = 8.0
    """Elements are clipped at so many times what is expected; what that takes comes with the next update."""
    across_regions: bool = False
    """False: the members of each region mask among themselves, and their sum crosses borders as a mean does. True: all
    members of a round mask together, and what crosses a border is masked."""


Aggregation = Mean | SecureSum


class Weights(_Part, frozen=True, kw_only=True):
    policy: Literal["uniform", "tokens"] = "uniform"
    cap_percent: int = 100
    """Largest share of a round, in per cent, that one member may have; never undone by renormalising."""

    @property
    def cap(self) -> Fraction:
        return Fraction(self.cap_percent, 100)


class Deadlines(_Part, frozen=True, kw_only=True):
    """A deadline is median + mad_factor x MAD of what was observed, between floor and ceiling."""

    floor_s: float = 2.0
    ceiling_s: float = 60.0
    mad_factor: float = 6.0


class Quorum(_Part, frozen=True, kw_only=True):
    kind: Literal["majority", "available"] = "majority"
    """`majority`: more than half of the electorate commits; a minority pauses. `available`: whoever is there goes on,
    and after a partition the chain with more weight wins (runs open to all, with `open` data only)."""
    island: bool = True
    """Whether a peer that is cut off from the quorum goes on training locally until it is back; what becomes of that
    is `training.late`'s to say."""


class NoFloor(_Part, frozen=True, kw_only=True, tag="none", tag_field="kind"):
    """Nobody scores a candidate base before it becomes the Shared Base."""


class QualityVotes(_Part, frozen=True, kw_only=True, tag="votes", tag_field="kind"):
    """Members score every candidate base on held-out data of their own before it is committed; if more than half of
    them say no, the round leaves the base as it was."""

    tolerance_percent: float = 1.0
    """How much higher than the current base's loss the candidate's may be before a member says no."""
    silence: Literal["accept", "reject"] = "accept"
    """What a member that says nothing counts as."""


Quality = NoFloor | QualityVotes


class Admission(_Part, frozen=True, kw_only=True):
    kind: Literal["member", "mixed", "open"] = "member"
    """`member`: a passport signed by a member is needed. `open`: volunteers sign their own, as member "open", and are
    that one member together. `mixed`: members' peers and volunteers, in a run that members govern."""


class Governance(_Part, frozen=True, kw_only=True):
    amend_threshold: int = 0
    """Members that must sign an amendment, or revoke somebody else's key; 0: more than two thirds of those in force."""


class Privacy(_Part, frozen=True, kw_only=True):
    delta: float = 1e-6
    """Of (epsilon, delta)-differential privacy, for members that train under it; well below one over their records."""


class Data(_Part, frozen=True, kw_only=True):
    licences: tuple[str, ...] = ()
    """Licences under which data may be trained on for the Shared Base, as policies write them; empty: any."""


class Region(_Part, frozen=True, kw_only=True):
    name: str
    jurisdictions: tuple[str, ...]
    """ISO 3166 alpha-2 codes."""


class Member(_Part, frozen=True, kw_only=True):
    name: str
    key: PeerId
    """The member's root key, written as a peer id; it signs passports and never runs a peer."""


class Founders(_Part, frozen=True, kw_only=True):
    keys: tuple[PeerId, ...]
    threshold: int
    """Signatures needed before the charter is valid."""


class Genesis(_Part, frozen=True, kw_only=True):
    peers: tuple[PeerId, ...]
    """The electorate of round 1."""
    witnesses: tuple[PeerId, ...] = ()
    """Peers that vote and never reduce."""
    members: tuple[str, ...] = ()
    """The member of each of `peers`, in their order, for members and not peers are counted; "" or nothing at all: a
    voice by itself in round 1. From then on passports say whose a peer is."""


class Charter(_Part, frozen=True, kw_only=True):
    """The payload that founders sign; `swarm.charter.signing.run_id` hashes it."""

    version: Literal[1] = 1
    run: Run
    model: Model
    training: Training = Training()
    outer: Outer = Nesterov()
    reduce: Reduce = Reduce()
    aggregation: Aggregation = Mean()
    weights: Weights = Weights()
    deadlines: Deadlines = Deadlines()
    quorum: Quorum = Quorum()
    quality: Quality = NoFloor()
    admission: Admission = Admission()
    governance: Governance = Governance()
    privacy: Privacy = Privacy()
    data: Data = Data()
    regions: tuple[Region, ...]
    members: tuple[Member, ...]
    founders: Founders
    genesis: Genesis

    @property
    def admits_volunteers(self) -> bool:
        """Whether peers may sign their own passports."""
        return self.admission.kind != "member"

    def region_of(self, jurisdiction: str) -> str | None:
        """The region a jurisdiction belongs to, or None when the charter has no place for it."""
        for region in self.regions:
            if jurisdiction in region.jurisdictions:
                return region.name
        return None
