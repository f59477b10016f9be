"""Real peers behind real NATs (nat.py): they contribute, say how they are reached, and hold the same base.

Where a system has no network namespaces for this user, the test asserts that the lab says so in one line.
"""

from pathlib import Path

import msgspec

from swarm import events
from swarm.telemetry.view import View
from tests.integration.nat import GUESTS, PUBLIC, Natted, natted, together
from tests.integration.processes import wait_for
from tests.integration.test_wan import refusal_expected_where_impossible

_ROUNDS = 3


def test_two_peers_behind_two_nats_and_a_public_one_train_together(tmp_path: Path) -> None:
    with refusal_expected_where_impossible(), natted(tmp_path) as crew:
        peers = crew.peers
        for peer in peers.values():
            peer.wait_for(events.StateReady)
        wait_for(f"{_ROUNDS} rounds of all three", lambda: len(together(crew)) >= _ROUNDS)
        how = {host: peer.happened(events.Reachable)[-1] for host, peer in peers.items()}
        assert how[PUBLIC].how == "direct" and not how[PUBLIC].relays
        for host in GUESTS:
            assert how[host].how == "behind NAT" and how[host].relays, "refused by its router, and served by a relay"
        last = together(crew)[_ROUNDS - 1].round
        digests: set[str] = set()
        for host, peer in peers.items():
            peer.wait_for_round(last)
            (committed,) = (event for event in peer.happened(events.RoundCommitted) if event.round == last)
            digests.add(committed.state_digest)
            sent = {entry["kind"]: entry for entry in peer.ledger()}
            assert ("result" in sent) == (host == PUBLIC), "only who can be dialled makes results for others"
        assert len(digests) == 1
        assert_watched(crew)
        guests = [peers[host] for host in GUESTS]
        wait_for("relayed bytes", lambda: all(_relayed(peer.ledger()) > 0 for peer in guests))
        assert _relayed(peers[PUBLIC].ledger()) == 0


def assert_watched(crew: Natted) -> None:
    """Peers behind NATs tell an observer their figures through their relays, and nobody refuses it."""
    watching = crew.watch(len(crew.peers))
    assert watching.end() == 0, watching.stderr
    seen = msgspec.json.decode(watching.stdout.encode(), type=View)
    assert {row.peer for row in seen.peers} == {peer.id for peer in crew.peers.values()}
    assert all(row.isolation and row.loss is not None and row.sent_bytes > 0 for row in seen.peers)
    assert sorted(row.reach for row in seen.peers) == ["behind NAT", "behind NAT", "direct"]
    assert not any(peer.happened(events.FrameRefused) for peer in crew.peers.values())


def _relayed(ledger: list[dict]) -> int:
    return sum(entry["bytes"] for entry in ledger if entry["kind"] == "relayed")
