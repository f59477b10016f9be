"""Three real peers, their node, trainer and daemon processes: rounds, deaths, late joiners, and leaving."""

import json
import os
import pty
import re
import signal
import time

import pytest

from swarm import events
from swarm.sovereignty.ledger import read_totals
from tests.integration.conftest import Crew
from tests.integration.processes import Peer, descendants, is_alive, wait_for

PARTS = ("swarm.node", "peers.trainer", "p2pd")


def _digests(*peers: Peer) -> dict[int, set[str]]:
    """Every round's state digests, as the peers report them."""
    found: dict[int, set[str]] = {}
    for peer in peers:
        for event in peer.happened(events.RoundCommitted):
            found.setdefault(event.round, set()).add(event.state_digest)
    return found


def _others_go_on(crew: Crew) -> None:
    for name in ("ada", "bo"):
        crew[name].wait_for_round(crew[name].round + 2)
    digests = _digests(crew["ada"], crew["bo"])
    assert all(len(each) == 1 for each in digests.values()), digests


def test_three_peers_hold_the_same_base_and_every_byte_has_a_permit(crew: Crew) -> None:
    three = [crew[name] for name in ("ada", "bo", "cy")]
    together = max(peer.round for peer in three) + 1
    for peer in three:
        peer.wait_for_round(together)
    digests = _digests(*three)
    assert together in digests
    assert all(len(each) == 1 for each in digests.values()), digests
    for peer in three:
        (ready,) = peer.happened(events.TrainerReady)
        assert ready.isolation in ("network namespace", "none")
        reported = peer.happened(events.BytesOut)[-1].by_kind
        lines = peer.ledger()
        assert all(line["permit"] and line["peer"] and line["bytes"] > 0 for line in lines)
        assert {"update", "result", "announcement"} <= {line["kind"] for line in lines}, reported
        totals = read_totals(peer.state / "ledger.jsonl")
        assert all(totals[kind] >= count for kind, count in reported.items())
        assert not peer.happened(events.FrameRefused)


def test_a_stopped_node_catches_up_and_the_others_go_on(crew: Crew) -> None:
    node = crew["cy"].child("swarm.node")
    os.kill(node, signal.SIGSTOP)
    try:
        stopped_at = crew["cy"].round
        for name in ("ada", "bo"):
            crew[name].wait_for_round(stopped_at + 3)
    finally:
        os.kill(node, signal.SIGCONT)
    crew["cy"].wait_for(events.CaughtUp, lambda event: event.to_round > stopped_at)
    crew["cy"].wait_for(
        events.RoundCommitted,
        lambda event: event.round > stopped_at + 1 and crew["cy"].id in event.contributors,
    )
    digests = _digests(*(crew[name] for name in ("ada", "bo", "cy")))
    assert all(len(each) == 1 for each in digests.values()), digests


def test_without_the_bootstrap_node_a_fresh_peer_joins_through_another(crew: Crew) -> None:
    crew.bootstrap.kill()
    _others_go_on(crew)
    front = crew["ada"].round
    dee = crew.start("dee", "--json", "--max-rounds", front + 40, join=crew["ada"].address)
    ready = dee.wait_for(events.StateReady)
    assert isinstance(ready, events.StateReady)
    assert (ready.source, ready.round >= front, ready.bytes_received > 0) == ("download", True, True)
    dee.wait_for(events.RoundCommitted, lambda event: dee.id in event.contributors)
    assert dee.end() == 0, dee.stderr
    document = json.loads(dee.stdout)
    assert document["rounds_committed"] == front + 40
    crew["ada"].wait_for_round(front + 40)
    assert _digests(crew["ada"], crew["bo"])[front + 40] == {document["base_digest"]}

    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(document["shared_base"])
    assert sum(parameter.numel() for parameter in model.parameters()) == crew.papers.charter.model.parameters


@pytest.mark.parametrize("part", PARTS)
def test_a_peer_that_loses_a_part_says_so_and_the_others_go_on(crew: Crew, part: str) -> None:
    peer = crew["cy"]
    parts = [peer.child(name) for name in PARTS]
    os.kill(peer.child(part), signal.SIGKILL)
    assert peer.end() == 1
    last = peer.stderr.splitlines()
    assert len(last) == 1, last
    named = {"swarm.node": "node process", "peers.trainer": "trainer process", "p2pd": "p2pd"}[part]
    assert last[0].startswith("tapestry: ") and named in last[0]
    assert not any(is_alive(pid) for pid in parts)
    _others_go_on(crew)


def test_killing_the_supervisor_takes_everything_with_it_and_the_same_command_resumes(crew: Crew) -> None:
    peer = crew["cy"]
    family = descendants(peer.pid)
    assert len(family) == len(PARTS)
    before, identity = peer.round, peer.id
    peer.process.kill()
    assert peer.end() == -signal.SIGKILL
    wait_for("the end of node, trainer and daemon", lambda: not any(is_alive(pid) for pid in family), 10.0)
    _others_go_on(crew)

    controller, terminal = pty.openpty()
    peer = crew.start("cy", terminal_fd=terminal)
    os.close(terminal)
    screen = bytearray()

    def shows(pattern: str) -> bool:
        screen.extend(_available(controller))
        assert peer.is_running, screen.decode(errors="replace")
        return re.search(pattern, screen.decode(errors="replace")) is not None

    peer.wait_for(events.RoundCommitted, lambda event: peer.id in event.contributors)
    assert peer.id == identity
    assert peer.happened(events.StateReady)[0].round >= before
    live = r"round \d+ · [a-z ]+ · 3 peers · loss \d\.\d+ · [\d,]+ tokens/s · \d+\.\d+ MB out"
    wait_for("the live line", lambda: shows(live))

    began_s = time.monotonic()
    os.write(controller, b"\x03")  # Ctrl+C, to every process of the terminal
    assert peer.end() == 0, screen.decode(errors="replace")
    assert time.monotonic() - began_s < 5.0
    screen.extend(_available(controller))
    text = screen.decode(errors="replace")
    saved = peer.happened(events.NodeStopped)[-1]
    assert saved.round == peer.round and str(peer.state) in saved.saved
    assert f"saved {saved.saved}" in text.replace("\r\n", "")
    assert "Traceback" not in text
    os.close(controller)

    resumed = crew.muster()["cy"]
    assert resumed.happened(events.StateReady)[0].source in ("disk", "replay")
    assert resumed.happened(events.StateReady)[0].round >= saved.round


def _available(fd: int) -> bytes:
    """What a terminal has shown since the last call."""
    os.set_blocking(fd, False)
    data = b""
    while True:
        try:
            piece = os.read(fd, 65_536)
        except (BlockingIOError, OSError):  # nothing more now, or the other side is closed
            return data
        if not piece:
            return data
        data += piece
