"""Real swarms split in two and healed: `python -m tests.chaos.split`.

Peers and a bootstrap node, each a tree of real processes, train a very small model on two sides of a cable that is cut
for a while and mended. Three plays, of which `--play` picks one:

    majority    two peers in the west, three in the east. While it is cut the east commits rounds; the west commits
                none, says so, and trains on. Mended, all five are in one round again within two rounds.
    nobody      two in the west, two in the east: nobody has more than half. Nobody commits, both sides say so and what
                to do, and train on. Mended, rounds go on.
    available   a run of volunteers in which whoever is there goes on: both sides commit. Mended, the side with the
                lighter chain goes over to the other one and says what is lost.

Under a majority no round ever has two state digests. How many rounds pass and how long it takes is printed; instants of
real processes are not repeatable.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.wan.privilege import become_root_of_a_user_namespace
from swarm import events
from swarm.errors import TapestryError
from tests.chaos.cable import Cable
from tests.chaos.split_swarm import Swarm, members_papers, volunteers_papers
from tests.integration.papers import Papers
from tests.integration.processes import Peer, wait_for

WEST, EAST = ("ada", "bo"), ("cy", "dee", "eve")
EVEN_EAST = ("cy", "dee")
ROUNDS_BEFORE, ROUNDS_CUT, ROUNDS_APART = 2, 6, 2
IN_FLIGHT_S = 1.0
"""What was on its way when the cable was cut may still commit a round on either side."""
QUIET_S = 20.0
"""How long nobody may commit a round where nobody has a majority."""
WITHIN_ROUNDS = 2
RESTART_COMMAND = "tapestry charter restart new"


def majority(swarm: Swarm, cable: Cable) -> None:
    """Raises AssertionError if anything that must hold does not."""
    cable.cut()
    time.sleep(IN_FLIGHT_S)
    stood = swarm.front(*WEST)
    began_s = time.monotonic()
    east_s = swarm.wait_for_rounds(stood + ROUNDS_CUT, *EAST)
    for name in WEST:
        swarm.peers[name].wait_for(events.IslandBegan)
    cut_s = time.monotonic() - began_s
    assert swarm.front(*WEST) <= stood, "the side without a quorum committed a round"
    print(
        f"cut for {cut_s:.1f} s: the east side did {ROUNDS_CUT} rounds in {east_s:.1f} s, the west side none",
        flush=True,
    )
    cable.mend()
    mended = swarm.front(*EAST)
    began_s = time.monotonic()
    swarm.wait_for_rounds(mended, *WEST)
    swarm.wait_for_rounds(mended + WITHIN_ROUNDS, *swarm.names)
    back_s = time.monotonic() - began_s
    behind = max(_first_after(swarm.peers[name], stood) - mended for name in WEST)
    assert behind <= WITHIN_ROUNDS, f"the west side came back only in round +{behind}"
    whole = swarm.wait_for_all_counted(mended)
    compared = swarm.check_one_state_a_round()
    print(
        f"mended: {back_s:.1f} s later all five stand on one base, the west side from round +{max(behind, 0)} on; "
        f"all five counted in round +{whole - mended}; {compared} rounds, one state each; "
        f"the west side trained on {_trained_on(swarm, *WEST)} times"
    )


def nobody(swarm: Swarm, cable: Cable) -> None:
    """Raises AssertionError if anything that must hold does not."""
    cable.cut()
    time.sleep(IN_FLIGHT_S)
    stood = {name: swarm.front(name) for name in swarm.names}
    for name in swarm.names:
        swarm.peers[name].wait_for(events.IslandBegan)
        wait_for(f"advice of {name}", lambda name=name: RESTART_COMMAND in swarm.peers[name].stdout)
    time.sleep(QUIET_S)
    assert {name: swarm.front(name) for name in swarm.names} == stood, "somebody without a majority committed a round"
    print(f"cut: nobody has a majority, nobody has committed since round {max(stood.values())}, all say what to do")
    cable.mend()
    began_s = time.monotonic()
    mended = max(stood.values())
    swarm.wait_for_rounds(mended + WITHIN_ROUNDS, *swarm.names)
    back_s = time.monotonic() - began_s
    whole = swarm.wait_for_all_counted(mended)
    compared, trained = swarm.check_one_state_a_round(), _trained_on(swarm, *swarm.names)
    print(
        f"mended: {back_s:.1f} s later all four have done {WITHIN_ROUNDS} rounds more; all counted in round "
        f"+{whole - mended}; {compared} rounds, one state each; they trained on {trained} times"
    )


def available(swarm: Swarm, cable: Cable) -> None:
    """Raises AssertionError if anything that must hold does not."""
    cable.cut()
    fork = min(swarm.front(name) for name in swarm.names)
    for side in (swarm.west, swarm.east):
        swarm.wait_for_rounds(fork + 1 + ROUNDS_APART, *side)
    apart = swarm.front(*swarm.names)
    print(f"cut: both sides have gone on from round {fork}, the west to {swarm.front(*WEST)}, the east to {apart}")
    cable.mend()
    began_s = time.monotonic()
    wait_for("one side that goes over", lambda: any(_switches(peer) for peer in swarm.peers.values()))
    lost = next(side for side in (swarm.west, swarm.east) if any(_switches(swarm.peers[name]) for name in side))
    for name in lost:
        swarm.peers[name].wait_for(events.ChainSwitched)
    won = swarm.east if lost == swarm.west else swarm.west
    mended = swarm.front(*won)
    swarm.wait_for_rounds(mended + WITHIN_ROUNDS, *swarm.names)
    back_s = time.monotonic() - began_s
    whole = swarm.wait_for_all_counted(mended)
    assert not any(_switches(swarm.peers[name]) for name in won), "both sides went over"
    told = [switch for name in lost for switch in _switches(swarm.peers[name])]
    assert all(each.rounds_lost > 0 and 0 < each.weight_lost <= each.weight_won for each in told), told
    last = {_state_of(peer, whole) for peer in swarm.peers.values()}
    assert len(last) == 1, f"round {whole} has several states: {last}"
    print(
        f"mended: {back_s:.1f} s later all five stand on one base; {', '.join(lost)} went over and said so: "
        f"{told[0].rounds_lost} rounds, weight {told[0].weight_lost} against {told[0].weight_won}; "
        f"all five counted in round +{whole - mended}"
    )


def _state_of(peer: Peer, round_number: int) -> str:
    event = peer.wait_for(events.RoundCommitted, lambda event: event.round == round_number)
    assert isinstance(event, events.RoundCommitted)
    return event.state_digest


def _switches(peer: Peer) -> list[events.ChainSwitched]:
    return peer.happened(events.ChainSwitched)


def _trained_on(swarm: Swarm, *names: str) -> int:
    return sum(event.updates for name in names for event in swarm.peers[name].happened(events.IslandEnded))


def _first_after(peer: Peer, round_number: int) -> int:
    """The first round after `round_number` that a peer held the base of."""
    caught_up = [event.to_round for event in peer.happened(events.CaughtUp)]
    committed = [event.round for event in peer.happened(events.RoundCommitted)]
    return min(number for number in (*caught_up, *committed) if number > round_number)


Play = tuple[Callable[[Path, tuple[str, ...]], Papers], tuple[str, ...], Callable[[Swarm, Cable], None]]
PLAYS: dict[str, Play] = {
    "majority": (members_papers, EAST, majority),
    "nobody": (members_papers, EVEN_EAST, nobody),
    "available": (volunteers_papers, EAST, available),
}


def play(name: str, folder: Path) -> None:
    """One split and its healing. Raises AssertionError if anything that must hold does not."""
    papers_of, east, then = PLAYS[name]
    papers = papers_of(folder / "papers", (*WEST, *east))
    with Cable() as cable:
        swarm = Swarm(papers, cable, folder, WEST, east)
        try:
            swarm.wait_for_rounds(ROUNDS_BEFORE, *swarm.names)
            number = swarm.front(*swarm.names)
            print(f"{name}: {len(swarm.names)} peers are at round {number}; cutting the cable", flush=True)
            then(swarm, cable)
        finally:
            swarm.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--play", choices=PLAYS, action="append", help="all of them unless given")
    chosen = parser.parse_args().play or list(PLAYS)
    try:
        become_root_of_a_user_namespace()
        for name in chosen:
            with tempfile.TemporaryDirectory(prefix="tapestry-split-") as folder:
                play(name, Path(folder))
    except (TapestryError, AssertionError) as error:
        print(f"failed: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
