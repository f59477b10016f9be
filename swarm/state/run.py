"""What every peer of a run derives from the charter in force, once: its grid, codec, outer rule and weights.

There is one `Run` for each set of rules that was ever in force; `under` leads from any of them to any other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from swarm.charter.epochs import Rules
from swarm.charter.manifest import Charter, Nesterov, Outer, SecureSum
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.vector.bounds import Buffer
from swarm.vector.codec import Codec, make_codec
from swarm.vector.grid import Grid
from swarm.vector.outer import AdamWRule, NesterovRule, OuterRule
from swarm.vector.secure_codes import SecureCodes
from swarm.vector.weights import capped_weights

_QUANTISED = 1.05
"""What quantising may add to the norm of what its sender's gate let pass."""


def outer_rule(outer: Outer) -> OuterRule:
    """The outer optimiser a charter names; ValueError for rates that make no sense."""
    if isinstance(outer, Nesterov):
        return NesterovRule(lr=outer.lr, momentum=outer.momentum)
    return AdamWRule(
        lr=outer.lr,
        beta1=outer.beta1,
        beta2=outer.beta2,
        eps=outer.eps,
        weight_decay=outer.weight_decay,
    )


@dataclass(frozen=True, eq=False)
class Run:
    """A verified charter and what follows from it. Equal to itself only: a cheap key for what it judged."""

    charter: Charter
    """The one in force: the genesis charter, or an amendment's."""
    amended: Rules | None = None
    """None under the genesis charter while nothing is revoked."""
    _origin: "Run | None" = field(default=None, repr=False)
    _family: "dict[Rules, Run]" = field(default_factory=dict["Rules", "Run"], repr=False)

    @cached_property
    def rules(self) -> Rules:
        return self.amended or Rules.genesis(self.charter)

    @property
    def genesis(self) -> "Run":
        """The run as it began."""
        return self._origin or self

    def under(self, rules: Rules) -> "Run":
        """This run under other rules of its own; always the same one for the same rules."""
        genesis = self.genesis
        if rules == genesis.rules:
            return genesis
        if rules not in genesis._family:
            genesis._family[rules] = Run(rules.charter, rules, genesis)
        return genesis._family[rules]

    @property
    def id(self) -> str:
        """The same under all of its rules."""
        return self.rules.run_id

    @cached_property
    def genesis_members(self) -> Mapping[PeerId, str]:
        """Whose the genesis peers are, as far as the charter says."""
        genesis = self.charter.genesis
        return {peer: name for peer, name in zip(genesis.peers, genesis.members, strict=False) if name}

    @cached_property
    def grid(self) -> Grid:
        return Grid(self.charter.model.parameters, self.charter.reduce.chunk_elements)

    @cached_property
    def codec(self) -> Codec:
        return make_codec(self.charter.reduce.codec, self.charter.reduce.block_elements)

    @cached_property
    def secure(self) -> SecureSum | None:
        """The charter's rule for secure sums; None where owners see single updates."""
        rule = self.charter.aggregation
        return rule if isinstance(rule, SecureSum) else None

    @cached_property
    def secure_codes(self) -> SecureCodes:
        """The codes that secure sums add. The charter has a rule for them."""
        assert self.secure is not None
        return SecureCodes(self.secure.bits, self.secure.block_elements)

    @cached_property
    def rule(self) -> OuterRule:
        return outer_rule(self.charter.outer)

    @property
    def least_members(self) -> int:
        """Members an aggregate must hold to go to every region: 1 where there is only one."""
        if self.secure is not None and self.secure.across_regions:
            return 1  # what crosses is masked among all members, so no region's part of it can be told
        return self.charter.reduce.least_members if len(self.charter.regions) > 1 else 1

    def check_norm(self, data: Buffer, elements: int) -> None:
        """Refuses an encoded part, sum or result above the charter's norm bound; a mean of what keeps it keeps it too.

        Raises:
            ProtocolError: it does not keep the bound.
        """
        if not self.codec.is_within(data, elements, _QUANTISED * self.charter.reduce.max_rms):
            raise ProtocolError("a chunk above the charter's norm bound (reduce.max_rms)")

    def encoded_bytes(self, chunk: int) -> int:
        """Bytes of one encoded chunk, in an update as in a result."""
        return self.codec.encoded_bytes(self.grid.length(chunk))

    @cached_property
    def encoded_bytes_total(self) -> int:
        """Bytes of a whole encoded vector."""
        return self.encoded_bytes(0) * (self.grid.chunks - 1) + self.encoded_bytes(self.grid.chunks - 1)

    def weights(self, tokens: Sequence[int], members: Sequence[str]) -> tuple[int, ...]:
        """Integer weights by the charter's policy and cap, one per peer. ValueError when the cap cannot be kept."""
        uniform = self.charter.weights.policy == "uniform"
        claims = [1 if uniform else max(1, count) for count in tokens]
        return capped_weights(claims, members, self.charter.weights.cap)
