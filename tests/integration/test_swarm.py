"""Three real peers, their node, trainer and daemon processes: rounds, deaths, late joiners, and leaving."""

import json
import os
import re
import signal
import socket
import time
import urllib.request
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from swarm import events
from swarm.isolation.levels import LADDER
from swarm.net import wire
from swarm.sovereignty.audit import audit
from swarm.sovereignty.ledger import read_totals
from swarm.sovereignty.reconcile import reconcile
from swarm.state.store import KEPT_SNAPSHOTS
from tests.integration.conftest import Crew
from tests.integration.processes import Peer, Terminal, command_line, descendants, is_alive, wait_for
from tests.screens.swarm import Dashboard, observer_papers

PARTS = ("swarm.node", "peers.trainer", "p2pd")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def scraped(port: int) -> dict[str, float]:
    """What Prometheus reads of one peer, the samples of a name together."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    found: Counter[str] = Counter()
    for sample in (sample for family in families for sample in family.samples):
        found[sample.name] += sample.value
    return found


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
        assert ready.isolation in LADDER and ready.detail
        assert any("the node process" in note.text and "the data" in note.text for note in peer.happened(events.Note))
        reported = peer.happened(events.BytesOut)[-1].by_kind
        lines = peer.ledger()
        assert all(line["permit"] and line["peer"] for line in lines)
        assert all((line["bytes"] > 0) == (line["kind"] != "decision") for line in lines)
        # Who is alone in its region has nobody to send its update to: what crosses the border is a sum.
        gives = "sum" if peer is crew["cy"] else "update"
        assert {gives, "result", "announce"} <= {line["kind"] for line in lines}, reported
        totals = read_totals(peer.state / "ledger.jsonl")
        assert all(totals[kind] >= count for kind, count in reported.items())
        assert not peer.happened(events.FrameRefused)


def test_peers_hold_each_others_ledgers_to_what_was_signed(crew: Crew) -> None:
    three = [crew[name] for name in ("ada", "bo", "cy")]
    for peer in three:
        others = [other.state for other in three if other is not peer]
        ledger = peer.state / "ledger.jsonl"

        def is_witnessed_by_both(ledger: Path = ledger, others: list[Path] = others) -> bool:
            return len(audit(ledger, others, None).witnesses) == 2

        wait_for("a head that both others hold", is_witnessed_by_both)
        found = audit(ledger, others, None)
        assert found.verdict == "witnessed" and found.peer == peer.id and found.witnessed_entries > 0
        assert not peer.happened(events.LedgerForked)
    for one, other in ((three[0], three[1]), (three[2], three[0])):
        found = reconcile(one.state / "ledger.jsonl", other.state / "ledger.jsonl")
        assert not found.faults and all(each.agreed_frames > 0 for each in found.directions)


def test_an_observer_watches_verified_rounds_and_is_nobodys_peer(crew: Crew, tmp_path: Path) -> None:
    papers = observer_papers(crew.papers, tmp_path)
    shown = Dashboard(crew.bootstrap.start(), *papers.words())
    try:

        def has_everything() -> bool:
            seen = shown.view()
            told = [row for row in seen.peers if row.isolation and row.loss is not None and row.sent_bytes]
            verified = [
                row for row in seen.rounds if row.verified and row.votes is not None and row.seconds is not None
            ]
            return len(told) == 3 and bool(verified) and bool(seen.links.names) and seen.totals.across_bytes > 0

        wait_for("figures of all three and a verified round", has_everything)
        seen = shown.view()
        assert not any(row.apart for row in seen.rounds)
        assert {row.region for row in seen.peers} == {"eu", "asia"} and len(seen.peers) == 3
        assert any(line["kind"] == "observed" for line in crew["ada"].ledger())
        assert not any(peer.happened(events.FrameRefused) for peer in (crew["ada"], crew["bo"], crew["cy"]))
    finally:
        shown.close()


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
    dead = crew.bootstrap.start()
    crew.bootstrap.kill()
    _others_go_on(crew)
    front = crew["ada"].round
    port = free_port()
    words = ("--json", "--metrics", port, "--join", crew["ada"].address)  # any one of several addresses suffices
    dee = crew.start("dee", *words, join=dead)
    ready = dee.wait_for(events.StateReady)
    assert isinstance(ready, events.StateReady)
    assert (ready.source, ready.round >= front, ready.bytes_received > 0) == ("download", True, True)
    dee.wait_for(events.RoundCommitted, lambda event: dee.id in event.contributors)
    # A trainer tells its pace every half second: here, rounds are shorter than that.
    shown = ("tapestry_border_bytes_total", "tapestry_tokens_per_second")
    wait_for("its figures", lambda: all(scraped(port).get(name, 0.0) > 0 for name in shown))
    figures = scraped(port)
    assert figures["tapestry_round"] >= front
    assert figures["tapestry_round_seconds"] > 0 and figures["tapestry_frames_refused_total"] == 0
    assert dee.end(signal.SIGTERM) == 0, dee.stderr
    document = json.loads(dee.stdout)
    last = document["rounds_committed"]
    assert last >= front
    crew["ada"].wait_for_round(last)
    assert _digests(crew["ada"], crew["bo"])[last] == {document["base_digest"]}


def test_killed_beside_a_dead_bootstrap_node_a_peer_comes_back_through_those_it_met(crew: Crew) -> None:
    """One checkpoint is torn as well: the one before it, and the results since, lead to the same round."""
    dead = crew.bootstrap.start()
    peer, identity = crew["cy"], crew["cy"].id
    peer.wait_for(events.CheckpointSaved, lambda event: event.round > 1)
    wait_for("the addresses of two others", lambda: _remembered(peer) >= {crew["ada"].id, crew["bo"].id})
    sockets = _socket_folder(peer)
    crew.bootstrap.kill()
    family = descendants(peer.pid)
    peer.process.kill()
    assert peer.end() == -signal.SIGKILL
    wait_for("the end of node, trainer and daemon", lambda: not any(is_alive(pid) for pid in family), 10.0)
    snapshots = _numbered(peer.state / "snapshots")
    assert KEPT_SNAPSHOTS <= len(snapshots) <= KEPT_SNAPSHOTS + 1, "one more while the oldest is being removed"
    last = int(_numbered(peer.state / "records")[-1].name)
    snapshots[-1].write_bytes(snapshots[-1].read_bytes()[:-1000])

    peer = crew.start("cy", join=dead)
    ready = peer.wait_for(events.StateReady)
    assert peer.id == identity
    assert last <= ready.round <= last + 1, "what it had committed, and what the others did with its last vote"
    told = " | ".join(event.text for event in peer.happened(events.Note))
    assert f"cannot reach {dead}: entering through" in told
    assert f"snapshot of round {int(snapshots[-1].name)} is damaged" in told
    assert not sockets.exists(), "what the killed daemon left behind"
    # Two of four voters are away until it is back: it is in the next rounds at once, with nobody waiting for the
    # announcement of its life before to expire.
    counted = peer.wait_for(events.RoundCommitted, lambda event: identity in event.contributors)
    assert counted.round <= ready.round + 2


def _numbered(folder: Path) -> list[Path]:
    """The files named by a round, without those that the kill left half written."""
    return sorted(path for path in folder.iterdir() if path.name.isdecimal())


def _remembered(peer: Peer) -> set[str]:
    path = peer.state / "addresses"
    page = msgspec.msgpack.decode(path.read_bytes()) if path.exists() else {"announcements": []}
    return {wire.decode(data, wire.Sealed).author for data in page["announcements"]}


def _socket_folder(peer: Peer) -> Path:
    """Where the daemon of a running peer has its control socket."""
    lines = "\n".join(map(command_line, descendants(peer.pid)))
    (found,) = set(re.findall(r"-listen=/unix(\S+)/control\.sock", lines))
    folder = Path(found)
    assert folder.exists()
    return folder


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
    assert all(any(part in command_line(pid) for pid in family) for part in PARTS)
    before, identity = peer.round, peer.id
    first_record = peer.state / "records" / f"{1:09d}"
    written_ns = first_record.stat().st_mtime_ns
    peer.process.kill()
    assert peer.end() == -signal.SIGKILL
    wait_for("the end of node, trainer and daemon", lambda: not any(is_alive(pid) for pid in family), 10.0)
    _others_go_on(crew)

    terminal = Terminal()
    peer = crew.start("cy", terminal_fd=terminal.fd)
    peer.wait_for(events.RoundCommitted, lambda event: peer.id in event.contributors)
    assert peer.id == identity
    assert peer.happened(events.StateReady)[0].round >= before
    live = r"round \d+ · [a-z ]+ · 3 peers · loss \d\.\d+ · [\d,]+ tokens/s · \d+\.\d+ MB out"
    wait_for("the live line", lambda: re.search(live, terminal.text) is not None)

    began_s = time.monotonic()
    terminal.type("\x03")  # Ctrl+C reaches every process of the terminal
    assert peer.end() == 0, terminal.text
    assert time.monotonic() - began_s < 5.0
    terminal.close()
    saved = peer.happened(events.NodeStopped)[-1]
    assert saved.round == peer.round and str(peer.state) in saved.saved
    assert f"saved {saved.saved}" in terminal.text
    assert f"Shared Base of round {saved.round}" in terminal.text
    assert "Traceback" not in terminal.text

    resumed = crew.muster()["cy"]
    (ready,) = resumed.happened(events.StateReady)
    assert ready.round >= saved.round
    assert first_record.stat().st_mtime_ns == written_ns, "it began anew instead of with its own state folder"
