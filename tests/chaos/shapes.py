"""The charter of one random schedule, and how its peers lie in groups: a function of its seed."""

import random
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import msgspec

from swarm.charter.manifest import Charter, Region
from swarm.identity.peer_id import PeerId
from swarm.round.plan import MAX_GROUP_PEERS
from tests.simulation import make_charter

JURISDICTIONS = ("DE", "JP", "US")
REGIONS = tuple(Region(name=code.lower(), jurisdictions=(code,)) for code in JURISDICTIONS)
RATES_BPS = (0, 10_000_000, 40_000_000, 100_000_000)
CEILING_S = 10.0


@dataclass(frozen=True)
class Shape:
    """What one seed's charter says, and how its peers lie in groups."""

    codec: str
    levels: int
    regions: int
    chunk_elements: int
    group_peers: int | None
    """Peers after which a region forms cohorts; None for as many as outside tests."""
    has_rates: bool
    """Whether links are said to be unequal."""

    @classmethod
    def draw(cls, draw: random.Random) -> "Shape":
        return cls(
            codec=draw.choice(("int8", "int8", "int4", "bfloat16", "float32")),
            levels=draw.choice((1, 2, 2)),
            regions=draw.randint(1, 3),
            chunk_elements=draw.choice((100, 256, 256, 1200)),
            group_peers=draw.choice((None, None, 2, 3)),
            has_rates=draw.random() < 0.4,
        )

    def charter(self, genesis: int, witnesses: tuple[PeerId, ...]) -> Charter:
        made = make_charter(
            genesis,
            witnesses=witnesses,
            elements=1200,
            chunk_elements=self.chunk_elements,
            codec=self.codec,
            ceiling_s=CEILING_S,
            regions=REGIONS[: self.regions],
        )
        reduce = msgspec.structs.replace(made.reduce, levels=self.levels)
        return msgspec.structs.replace(made, reduce=reduce)

    def rates(self, draw: random.Random) -> tuple[int, int]:
        return (draw.choice(RATES_BPS), draw.choice(RATES_BPS)) if self.has_rates else (0, 0)

    @contextmanager
    def in_force(self) -> Generator[None]:
        """Makes groups as small as this shape wants them."""
        with patch("swarm.round.plan.MAX_GROUP_PEERS", self.group_peers or MAX_GROUP_PEERS):
            yield
