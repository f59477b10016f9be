"""Who the door lets in while rules change: an expiry within a group waits for its end, a revocation does not."""

import pytest

from swarm.charter import epochs
from swarm.charter.admission import Admitted, Reason, Refused
from swarm.charter.passport import issue
from swarm.identity.peer_id import PeerId
from swarm.node.membership import Membership
from swarm.round.context import Context
from swarm.state.run import Run
from swarm.state.shelf import Shelf
from swarm.state.store import MemoryStore
from tests.governing import revocation
from tests.simulation import CREATED_S, MEMBER_KEYS, peer_identity
from tests.unit.state.samples import small_charter

RUN = Run(small_charter())
PEER = peer_identity(1).peer_id
PASSPORT = issue(MEMBER_KEYS[0], RUN.charter, PEER, "DE", CREATED_S + 500, CREATED_S)


class Standing(Context):
    """Of a context, the rules in force and who has a seat."""

    def __init__(self, run: Run, seated: set[PeerId]) -> None:
        self.run, self.seated = run, seated

    def has_seat(self, peer: PeerId) -> bool:
        return peer in self.seated


def verdict(now_s: float, ctx: Context | None) -> Admitted | Refused:
    shelf = Shelf(MemoryStore(), lambda event: None)
    return Membership(RUN, shelf, PASSPORT, lambda: now_s, ctx).judge(PASSPORT, PEER)


@pytest.mark.parametrize("seated", [set[PeerId](), {PEER}])
def test_an_expired_passport_opens_streams_of_the_group_it_is_seated_in_alone(seated: set[PeerId]) -> None:
    assert isinstance(verdict(CREATED_S + 499, Standing(RUN, seated)), Admitted)
    found = verdict(CREATED_S + 500, Standing(RUN, seated))
    assert isinstance(found, Admitted) if seated else found == Refused(Reason.EXPIRED)
    assert verdict(CREATED_S + 500, None) == Refused(Reason.EXPIRED)


def test_a_seat_helps_nobody_whose_passport_the_rules_in_force_refuse() -> None:
    gone = revocation(RUN.id, MEMBER_KEYS[0].peer_id, [MEMBER_KEYS[0]], peer=PEER)
    rules = RUN.under(epochs.plus(RUN.rules, gone))
    for now_s in (CREATED_S + 1, CREATED_S + 500):
        assert verdict(now_s, Standing(rules, {PEER})) == Refused(Reason.REVOKED)
