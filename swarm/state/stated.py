"""What a peer has said of itself in its joins on record: its own word, which others hold and nobody can take back."""

from collections.abc import Callable

from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.sovereignty.privacy import Spent
from swarm.state.records import Record, Value


def newest_spending(load_record: Callable[[int], bytes | None], head: int, peer: PeerId) -> Spent | None:
    """The privacy that `peer` stated last in a committed round up to `head`; None if it never did.

    Looks back from `head`; records that are missing or damaged are passed over.
    """
    for round_number in range(head, 0, -1):
        data = load_record(round_number)
        stated = None if data is None else _stated(data, peer)
        if stated is not None:
            return stated
    return None


def _stated(record: bytes, peer: PeerId) -> Spent | None:
    try:
        value = wire.decode(wire.decode(record, Record).value, Value)
        joins = wire.decode(value.roster.payload, wire.Roster).joins
        mine = next((sealed for sealed in joins if sealed.author == peer), None)
        return None if mine is None else wire.decode(mine.payload, wire.Join).privacy
    except ProtocolError:
        return None
