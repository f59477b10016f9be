"""Which few of many peers are asked."""

from swarm.identity.peer_id import PeerId
from swarm.state.electorate import few_of

PEERS = [PeerId(f"peer{number}") for number in range(100)]


def test_few_are_all_when_there_are_no_more() -> None:
    assert few_of(PEERS[:8], 8, "salt") == PEERS[:8]


def test_another_salt_asks_others_and_over_many_salts_everybody_is_asked() -> None:
    drawn = [few_of(PEERS, 8, f"me/{attempt}") for attempt in range(100)]
    assert all(len(set(few)) == 8 for few in drawn)
    assert drawn[0] != drawn[1]
    assert {peer for few in drawn for peer in few} == set(PEERS)
    assert few_of(list(reversed(PEERS)), 8, "me/0") == drawn[0]
