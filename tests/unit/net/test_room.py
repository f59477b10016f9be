"""A flood of identities takes no more of a directory node's memory than a run can need, and pushes nobody out."""

from swarm.identity.peer_id import PeerId
from swarm.net.room import Room


def test_who_is_known_stays_and_renews_while_a_flood_is_refused() -> None:
    now_s = [1000.0]
    room = Room(3, lambda: now_s[0])
    for name in ("ada", "bo", "cy"):
        assert room.takes(PeerId(name), 1030.0)
    assert not any(room.takes(PeerId(f"minted {number}"), 1600.0) for number in range(1000))
    assert room.takes(PeerId("ada"), 1300.0)
    now_s[0] = 1100.0
    assert room.takes(PeerId("dee"), 1200.0) and room.takes(PeerId("eve"), 1200.0), "bo and cy are gone"
    assert not room.takes(PeerId("fay"), 1200.0)
    assert room.takes(PeerId("ada"), 1150.0), "an older entry shortens nothing"
    now_s[0] = 1250.0
    assert room.takes(PeerId("fay"), 1300.0) and room.takes(PeerId("gil"), 1300.0)
    assert not room.takes(PeerId("hal"), 1300.0)
