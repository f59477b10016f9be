"""What a run's events and ledgers say about privacy: what each peer has spent, and what masked sums put on the wire.

Pure, but for reading ledgers. All of it is what the peers themselves wrote down.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

from peers.demo.result import MaskedWire, PeerPrivacy, RoundRecord, Spending
from swarm import events
from swarm.errors import StateError
from swarm.net import wire
from swarm.sovereignty.ledger import whole
from swarm.sovereignty.permit import Kind
from swarm.sovereignty.uses import Privacy
from swarm.vector.grid import Grid

MASKED_BYTES = 2
"""Of an element under masks; the codec of plain updates takes half of that and a little."""


def peer_privacy(member: str, happened: Iterable[events.AnyEvent]) -> PeerPrivacy:
    """What one peer's events say of its protections and of what they have cost."""
    demanded: tuple[str, ...] = ()
    spending: Spending | None = None
    ended: int | None = None
    for event in happened:
        match event:
            case events.PolicyInForce():
                demanded = event.privacy
            case events.PrivacySpent():
                spending = Spending(
                    unit=event.unit,
                    epsilon=event.epsilon,
                    delta=event.delta,
                    budget=event.budget,
                    noise_multiplier=event.noise_multiplier,
                    max_grad_norm=event.max_grad_norm,
                    steps=event.steps,
                    accountant=event.accountant,
                )
            case events.PrivacyBudgetSpent():
                ended = event.round
            case _:
                pass
    return PeerPrivacy(
        member=member, protections=demanded or (Privacy.LICENCE.value,), spent=spending, ended_in_round=ended
    )


def masked_wire(
    ledgers: Mapping[str, Path],
    regions: Mapping[str, str],
    grid: Grid,
    rounds: Sequence[RoundRecord],
    ended: Iterable[events.SecureSumEnded],
) -> MaskedWire:
    """What a run of secure sums sent, by the ledgers of its peers.

    Args:
        ledgers: by peer.
        regions: peer to region.
        ended: of all peers, the sums that came to nothing.

    Raises:
        StateError: a ledger cannot be read.
    """
    sizes = {_part_bytes(chunk, grid.length(chunk)) for chunk in range(grid.chunks)}
    masked = masked_bytes = other = abroad = self_masks = 0
    for peer, path in ledgers.items():
        for kind, to, size_bytes in _sent(path):
            if kind == Kind.MASK:
                self_masks += 1
            elif kind == Kind.UPDATE:
                is_masked = size_bytes in sizes
                masked += is_masked
                masked_bytes += size_bytes * is_masked
                other += not is_masked
                abroad += regions.get(to) != regions[peer]
    return MaskedWire(
        masked_parts=masked,
        masked_bytes=masked_bytes,
        other_parts=other,
        parts_abroad=abroad,
        self_masks=self_masks,
        circles=circles_by_round(rounds, regions),
        ended=dict(Counter(event.code for event in ended)),
    )


def circles_by_round(rounds: Sequence[RoundRecord], regions: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
    """By region, how many peers are in the sum of each round; the pilot's members have one peer in a round each."""
    counts = [Counter(regions[peer] for peer in record.contributors) for record in rounds]
    return {region: tuple(count[region] for count in counts) for region in dict.fromkeys(regions.values())}


def _part_bytes(chunk: int, elements: int) -> int:
    """Of the frame that carries one masked chunk."""
    content = cast(memoryview, bytes(MASKED_BYTES * elements))  # encodes as a memoryview does
    return len(wire.encode(wire.Part(chunk, content)))


def _sent(path: Path) -> Iterable[tuple[Kind, str, int]]:
    """Kind, recipient and bytes of every entry; a line that a kill has torn is of a frame that did not leave."""
    try:
        with path.open("rb") as lines:
            for line in lines:
                entry = whole(line)
                if entry is not None:
                    yield entry.kind, entry.peer, entry.bytes
    except OSError as error:
        raise StateError(f"cannot read the ledger {path}: {error.strerror}") from None
