"""Who leads: a fresh order for every attempt, the same on every peer, with dialable peers first."""

import hashlib

from swarm.identity.peer_id import PeerId
from swarm.net.wire import Ballot
from swarm.state.records import Electorate


def ballot_of(run_id: str, round_number: int, attempt: int, electorate: Electorate) -> Ballot:
    """The ballot of an attempt: its leader is first by hash(run, round, attempt, peer) among the electors.

    Witnesses never lead: they hold no state.
    """

    def place(peer: PeerId) -> tuple[bool, bytes]:
        text = f"{run_id}/{round_number}/{attempt}/{peer}"
        return peer in electorate.undialable, hashlib.sha256(text.encode()).digest()

    return Ballot(attempt, min(electorate.peers, key=place))
