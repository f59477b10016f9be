"""`tapestry charter restart`: founders give a run a new electorate when its majority is lost for good."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peers.cli import arguments
from peers.cli.output import JsonFlag, show
from swarm.charter import files
from swarm.charter import restart as restarts
from swarm.charter.documents import read_document, write_document
from swarm.charter.manifest import Charter as CharterPayload
from swarm.charter.restart import Restart, SignedRestart
from swarm.charter.rules import check_electors_members
from swarm.charter.signing import check_not_expired, run_id, verify_charter
from swarm.clock import unix_s
from swarm.errors import CharterError, StateError, UsageError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId

if TYPE_CHECKING:
    from swarm.state.chain import Mark

app = typer.Typer(help="Give a run a new electorate when the majority of its old one is lost for good.")

Charter = Annotated[Path, typer.Option("--charter", help="The run's charter file.")]
File = Annotated[Path, typer.Argument(help="A restart document.")]


@app.command("new")
def new(
    out: Annotated[Path, typer.Argument(help="Where to write the document; must not exist yet.")],
    charter: Charter,
    peer: Annotated[
        list[str],
        typer.Option(
            help="PEERID or MEMBER=PEERID that votes on the next round; --state knows the members. Repeat for each."
        ),
    ],
    state: Annotated[
        Path | None,
        typer.Option(help="State folder of a surviving peer: its last record, or that of --round, is gone on from."),
    ] = None,
    round_number: Annotated[
        int | None, typer.Option("--round", min=0, help="The last round that counts; all after it are taken back.")
    ] = None,
    record: Annotated[
        str, typer.Option(help="Without --state: the hex digest of that round's record; none for round 0.")
    ] = "",
    witness: Annotated[
        list[str] | None, typer.Option(help="Peer id that votes but never reduces; the charter's no longer do.")
    ] = None,
    term: Annotated[
        int | None, typer.Option(min=1, help="Number of this restart; one more than the last one's if left out.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Write an unsigned restart: the last record, the new electorate, the next term."""
    arguments.new_file(out)
    rules = verify_charter(files.read(charter))
    if state is None and round_number is None:
        raise UsageError("give --state, --round, or both")
    known: dict[PeerId, str] = {}
    in_force = rules
    if state is not None:
        mark, last_term = _mark(rules, arguments.existing_file(state, "--state"), round_number)
        number, digest = mark.round, mark.digest.hex()
        known, in_force = dict(mark.electorate.members), mark.rules.charter
    else:
        number, digest, last_term = round_number or 0, record, 0
    electors = [arguments.elector(text, "--peer") for text in peer]
    members = tuple(name or known.get(one, "") for name, one in electors)
    document = Restart(
        run_id=run_id(rules),
        term=term or last_term + 1,
        round=number,
        record=digest,
        peers=tuple(one for _, one in electors),
        members=members if any(members) else (),
        witnesses=tuple(arguments.peer_id(text, "--witness") for text in witness or []),
    )
    restarts.check_restart(document, rules)
    check_electors_members("--peer", document.peers, document.members, in_force)
    write_document(out, restarts.encode(SignedRestart(restart=document)), CharterError)
    needed, founders = rules.founders.threshold, len(rules.founders.keys)
    show(
        {"file": str(out), "run_id": document.run_id, "term": document.term, "round": number, "record": digest},
        f"restart of term {document.term} after round {number} in {out}\n"
        f"next: {needed} of {founders} founders run `tapestry charter restart sign {out} --charter {charter} "
        "--identity KEY`, and every surviving peer is started again with `--restart`",
        as_json=json,
    )


@app.command("sign")
def sign(
    file: File,
    charter: Charter,
    identity: Annotated[Path, typer.Option(help="Key file of a founder.")],
    json: JsonFlag = False,
) -> None:
    """Add a founder's signature to a restart."""
    rules = verify_charter(files.read(charter))
    signed = restarts.sign_restart(_read(file), rules, Identity.load(identity))
    write_document(file, restarts.encode(signed), CharterError)
    valid, needed = len(restarts.valid_signers(signed)), rules.founders.threshold
    show(
        {"term": signed.restart.term, "signatures": valid, "threshold": needed},
        f"signed: {valid} valid signatures, {needed} needed",
        as_json=json,
    )


@app.command("verify")
def verify(file: File, charter: Charter, json: JsonFlag = False) -> None:
    """Print what a valid restart does; exit 1 with the cause of an invalid one."""
    restart = restarts.verify_restart(_read(file), verify_charter(files.read(charter)))
    show(
        {
            "valid": True,
            "run_id": restart.run_id,
            "term": restart.term,
            "round": restart.round,
            "record": restart.record,
            "peers": list(restart.peers),
            "witnesses": list(restart.witnesses),
        },
        f"term {restart.term} of run {restart.run_id}: after round {restart.round}, "
        f"{len(restart.peers)} peers and {len(restart.witnesses)} witnesses vote",
        as_json=json,
    )


def _read(file: Path) -> SignedRestart:
    return restarts.decode(read_document(file, restarts.MAX_RESTART_BYTES, CharterError))


def _mark(rules: CharterPayload, state: Path, round_number: int | None) -> "tuple[Mark, int]":
    """The point after a round (the last one if left out) of the chain in a state folder, verified from the charter on.

    And the newest term there: a restart that takes rounds back must be of a later one than any of those. Raises
    CharterError once the run is over by the newest charter in that folder: an amendment may have moved that.
    """
    from swarm.charter.holdings import newest_of
    from swarm.state.chain import Mark, kept_chain
    from swarm.state.run import Run
    from swarm.state.shelf import Shelf
    from swarm.state.store import DiskStore
    from swarm.state.trails import record_reader

    load = record_reader(state)
    last = found = Mark.genesis(Run(rules))
    for last, _ in kept_chain(Run(rules), load):
        if round_number is None or last.round <= round_number:
            found = last
    if round_number is not None and found.round != round_number:
        raise StateError(f"the records in {state} end at round {last.round}: round {round_number} is not among them")
    shelf = Shelf(DiskStore(state, read_only=True), lambda event: None)
    if (state / "governance").is_dir():
        shelf.look(last.rules)
    check_not_expired(newest_of(last.rules, shelf.held).charter, unix_s())
    return found, last.electorate.term
