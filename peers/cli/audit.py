"""`tapestry audit`: checks a ledger offline, compares two ends, and shows a part of it to others."""

from pathlib import Path
from typing import Annotated

import typer

from peers.cli import arguments
from peers.cli.extraction import canaries, extraction
from peers.cli.output import JsonFlag, show
from peers.cli.withdraw import withdraw
from swarm.errors import StateError

app = typer.Typer(help="Check a ledger without trusting the machine that wrote it, or show a part of it.")

Peer = Annotated[
    str | None, typer.Option("--peer", help="Whose ledger it is; as its heads or its folder's name say, if left out.")
]


@app.command("verify")
def verify(
    ledger: Annotated[Path, typer.Argument(help="A ledger.jsonl, a state folder with one, or an export.")],
    witness: Annotated[
        list[Path] | None,
        typer.Option(help="Heads that other peers hold: a file, or a folder such as their state folder. Repeat."),
    ] = None,
    peer: Peer = None,
    json: JsonFlag = False,
) -> None:
    """Find edits, gaps and reordering; with --witness also rewrites and forks, against heads that others hold.

    Exit 1 with the cause, and its codes in brackets, when anything does not hold.
    """
    import msgspec

    from swarm.sovereignty.audit import Audit, audit
    from swarm.sovereignty.export import check_export, is_export

    path = _ledger(ledger)
    witnesses = [arguments.existing_file(each, "--witness") for each in witness or ()]
    owner = None if peer is None else arguments.peer_id(peer, "--peer")
    found = check_export(path, owner) if is_export(path) else audit(path, witnesses, owner)
    if json or not found.faults:
        show(msgspec.to_builtins(found), found.text, as_json=json)
    if found.faults:
        codes = f" [{', '.join(found.codes)}]" if isinstance(found, Audit) else ""
        raise StateError("; ".join(found.faults) + codes)


@app.command("reconcile")
def reconcile(
    a: Annotated[Path, typer.Argument(help="One peer's state folder, or its ledger.jsonl.")],
    b: Annotated[Path, typer.Argument(help="The other peer's.")],
    json: JsonFlag = False,
) -> None:
    """Compare what two peers' ledgers say they sent each other with what the other one countersigned.

    Frames that were sent and never countersigned are named: streams may be cut. Exit 1 when a peer has countersigned
    what the other one's ledger does not have.
    """
    import msgspec

    from swarm.sovereignty.reconcile import reconcile as compare

    found = compare(_ledger(a), _ledger(b))
    if json or not found.faults:
        show(msgspec.to_builtins(found), found.text, as_json=json)
    if found.faults:
        raise StateError("; ".join(found.faults))


@app.command("export")
def export(
    ledger: Annotated[Path, typer.Argument(help="A ledger.jsonl, or a state folder with one.")],
    out: Annotated[Path, typer.Option(help="Where to write the export; must not exist yet.")],
    tier: Annotated[str, typer.Option(help="What to reveal: public, consortium or private.")] = "public",
    kind: Annotated[
        list[str] | None, typer.Option(help="Only entries of this kind, such as update. Repeat for more.")
    ] = None,
    artefacts: Annotated[
        Path | None,
        typer.Option(help="Where to write the records of what this peer trained on as well; must not exist yet."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Write what one visibility tier may see of a ledger; `tapestry audit verify` checks it against the signed head."""
    from swarm.sovereignty.disclosure import write_artefacts
    from swarm.sovereignty.entry import Tier
    from swarm.sovereignty.export import write_export
    from swarm.sovereignty.permit import Kind

    path = _ledger(ledger)
    arguments.new_file(out)
    visible = Tier(arguments.one_of(tier, [each.value for each in Tier], "--tier"))
    kinds = [Kind(arguments.one_of(each, [kind.value for kind in Kind], "--kind")) for each in kind or ()]
    if artefacts is not None:
        arguments.new_file(artefacts)
    head, exported = write_export(path, out, visible, frozenset(kinds))
    document: dict[str, object] = {
        "peer": head.peer,
        "tier": visible.value,
        "exported": exported,
        "size": head.size,
        "root": head.root,
        "file": str(out),
    }
    if artefacts is not None:
        document.update(artefacts=str(artefacts), sessions=write_artefacts(path.parent, artefacts, visible))
    text = f"{exported} of {head.size} entries of {head.peer}, {visible.value} tier, written to {out}"
    show(document, text, as_json=json)


app.command("withdraw")(withdraw)
app.command("canaries")(canaries)
app.command("extraction")(extraction)


def _ledger(path: Path) -> Path:
    """The ledger in a state folder, or the file itself."""
    file = path / "ledger.jsonl" if path.is_dir() else path
    return arguments.existing_file(file, "LEDGER")
