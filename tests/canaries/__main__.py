"""Canaries in a real swarm: `make canaries` (about two minutes; Linux, root or a user namespace).

Three peers in namespaces of their own train on text in which each canary stands once. Then: no secret is in what the
nodes sent before encryption, in the packets on the wires, in any file of a state folder (logs, metrics, ledger,
events, checkpoints, records), or in the ledger exported for any tier; and the Shared Base passes the extraction gate.
Afterwards one node leaks on purpose, and the model is trained on the canaries alone: each detector has to notice.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.wan.privilege import become_root_of_a_user_namespace
from peers.extraction import Canary, new_canaries, write_canaries
from swarm import events
from tests.canaries.overfit import overfit
from tests.canaries.search import search
from tests.canaries.tapped import NAMES, Tapped, everything_in, export_all, tapped
from tests.integration.processes import tapestry

_CANARIES = 9
_ROUNDS = 5


def main() -> None:
    become_root_of_a_user_namespace()
    canaries = new_canaries(_CANARIES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / "canaries.json"
        write_canaries(file, canaries)
        (folder / "exports").mkdir()
        with tapped(folder, canaries) as crew:
            for peer in NAMES:
                crew.start(peer)
            for peer in crew.peers.values():
                peer.wait_for(events.RoundCommitted, lambda event: event.round >= _ROUNDS)
            crew.stop_peers()
            for peer in NAMES:
                export_all(folder / peer, folder / "exports")
            nothing_left(crew, canaries)
            a_leak_is_noticed(crew, canaries[-1])
        gate(folder / NAMES[0] / "shared-base", file, canaries)
    print("canaries: all is as it should be")


def nothing_left(crew: Tapped, canaries: tuple[Canary, ...]) -> None:
    """No canary anywhere; and there was something to search."""
    secrets = [canary.secret for canary in canaries]
    for place in (*NAMES, "bootstrap", "exports"):
        searched_bytes = 0
        for name, data in everything_in(crew.folder / place):
            found = search(data, secrets)
            assert not found, f"{place}/{name}: {found}"
            searched_bytes += len(data)
        _say(f"{place}: nothing in {searched_bytes:,} bytes of files, what its node sent included")
    for peer in NAMES:
        tapped_bytes = (crew.folder / peer / "tap.bin").stat().st_size
        on_record_bytes = sum(line["bytes"] for line in crew.peers[peer].ledger())
        assert tapped_bytes >= on_record_bytes > 100_000, (peer, tapped_bytes, on_record_bytes)
    for host in range(1 + len(NAMES)):
        data = crew.wire(host).read_bytes()
        found = search(data, secrets)
        assert len(data) > 100_000 and not found, (host, len(data), found)
        _say(f"wire of host {host}: nothing in {len(data):,} bytes")


def a_leak_is_noticed(crew: Tapped, canary: Canary) -> None:
    """The negative control: frames, a log and a packet."""
    leaker = NAMES[-1]
    for name in NAMES:
        crew.start(name, leak=canary.text if name == leaker else "")
    crew.peers[leaker].wait_for(events.RoundCommitted)
    crew.stop_peers()
    places = {
        "frame": crew.folder / leaker / "tap.bin",
        "log": crew.folder / leaker / "careless.log",
        "packet": crew.wire(1 + NAMES.index(leaker)),
    }
    for what, path in places.items():
        found = search(path.read_bytes(), [canary.secret])
        assert found, f"the leak in a {what} was not noticed"
        _say(f"a leak in a {what} is noticed: {', '.join(sorted({one.encoding for one in found}))}")


def gate(base: Path, file: Path, canaries: tuple[Canary, ...]) -> None:
    """The Shared Base passes; a model trained on nothing but canaries does not."""
    words = ("--canaries", file, "--references", 4095)  # the threshold is the command's own
    passed = tapestry("audit", "extraction", base, *words)
    assert passed.returncode == 0, passed.stderr
    _say(passed.stdout.strip())
    overfit(base, [canary.text for canary in canaries])
    failed = tapestry("audit", "extraction", base, *words)
    assert failed.returncode == 1 and "can be extracted" in failed.stderr, (failed.returncode, failed.stderr)
    _say(f"a model trained on the canaries: {failed.stderr.strip()}")


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
