"""`tapestry audit withdraw`: what follows when somebody takes a data set back, and where the run can go on from.

A report; nothing is changed. What peers elsewhere did with the bases they were given is not on record here.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peers.cli import arguments
from peers.cli.output import JsonFlag, show
from swarm.errors import StateError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from swarm.sovereignty.withdrawal import Impact, Trail
    from swarm.state.run import Run

RESTART_FILE = "restart.json"


def withdraw(
    dataset: Annotated[str, typer.Argument(help="The data set's name in the policy file.")],
    state: Annotated[
        list[Path],
        typer.Option(help="State folder of a peer that may have trained on it. Repeat for all peers of the member."),
    ],
    json: JsonFlag = False,
) -> None:
    """Name the rounds a data set went into, every base after them, the last clean base, and how to restart from it."""
    from swarm.charter import files
    from swarm.charter.signing import verify_charter
    from swarm.sovereignty.withdrawal import impact
    from swarm.state.run import Run
    from swarm.state.trails import read_rounds, read_trail

    states = [arguments.existing_file(each, "--state") for each in state]
    run = Run(verify_charter(files.read(states[0] / "charter.toml")))
    trails = [read_trail(each) for each in states]
    _require_on_record(dataset, trails)
    zero, rounds = max((read_rounds(run, each) for each in states), key=lambda found: len(found[1]))
    found = impact(dataset, trails, rounds, zero)
    document = _document(found, states, run)
    show(document, _text(document), as_json=json)


def _require_on_record(dataset: str, trails: "Sequence[Trail]") -> None:
    known = {artefact.source for trail in trails for session in trail.sessions for artefact in session.data}
    if dataset not in known:
        names = ", ".join(sorted(known)) or "none at all"
        raise UsageError(f"no peer here has trained on a data set called {dataset!r}; on record: {names}")


def _document(found: "Impact", states: "Sequence[Path]", run: "Run") -> dict[str, Any]:
    import msgspec

    from swarm.state.trails import copies, restorable

    document: dict[str, Any] = msgspec.to_builtins(found)
    document["rounds"] = sorted({each.round for each in found.contributions})
    document["copies"] = [str(path) for each in states for path in copies(each, found.last_clean.round + 1)]
    # State 0 is made from the charter's file: its founders and the bootstrap node keep it.
    there = restorable(states, found.last_clean.round) or (0, states[0])
    document["restart"] = _restart(run, *there) if found.affected else None
    return document


def _restart(run: "Run", round_number: int, state: Path) -> dict[str, Any]:
    """How the founders take the run back to a round that a state folder still leads to."""
    from swarm.state.chain import kept_mark
    from swarm.state.trails import record_reader

    mark = kept_mark(run, record_reader(state), round_number)
    if mark is None:
        raise StateError(f"the record of round {round_number} in {state} is damaged")
    voters = " ".join(f"--peer {peer}" for peer in sorted(mark.electorate.peers))
    charter = state / "charter.toml"
    where = f"--charter {charter} --state {state} --round {round_number}"
    command = f"tapestry charter restart new {RESTART_FILE} {where} {voters}"
    return {"round": round_number, "record": mark.digest.hex(), "state": str(state), "command": command}


def _text(document: dict[str, Any]) -> str:
    clean, rounds, restart = document["last_clean"], document["rounds"], document["restart"]
    where = f"round {clean['round']}, state {clean['state']}, record {clean['record'] or '(the charter)'}"
    lines = [f"{document['dataset']}: " + ("in no committed round" if not rounds else f"in rounds {_spans(rounds)}")]
    if rounds:
        bases = document["affected"]
        lines.append(f"affected bases: rounds {bases[0]['round']} to {bases[-1]['round']}, all made from it")
    lines.append(f"last clean base: {where}")
    if document["holders"]:
        lines.append(f"given to {len(document['holders'])} peers: {', '.join(document['holders'])}")
    lines += [f"copy: {path}" for path in document["copies"]]
    if restart is not None:
        is_there = restart["round"] == clean["round"]
        earlier = "" if is_there else f" (no checkpoint here leads to round {clean['round']}; other peers may have one)"
        lines.append(f"to go on from round {restart['round']}{earlier}, without the data set: {restart['command']}")
    lines += [f"does not hold: {fault}" for fault in document["faults"]]
    return "\n".join(lines)


def _spans(rounds: "Sequence[int]") -> str:
    """Sorted numbers as spans: 1-3, 7."""
    spans: list[list[int]] = []
    for number in rounds:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
