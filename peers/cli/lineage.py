"""`tapestry lineage`: says where a model comes from, signed; checks that down to the charter; writes it for others."""

from pathlib import Path
from typing import Annotated

import typer

from peers.cli import arguments
from peers.cli.output import JsonFlag, show
from swarm.errors import UsageError

app = typer.Typer(help="Where a model comes from: sign it, check it down to the charter, show it to others.")

Model = Annotated[Path, typer.Argument(help="A model folder, a build, a state folder, or a statement.dsse.json.")]
State = Annotated[
    Path | None,
    typer.Option(help="State folder whose records, means and checkpoints it is checked against."),
]


@app.command("sign")
def sign(
    build: Annotated[Path | None, typer.Argument(help="Folder of a Sovereign Build; or give --state.")] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="State folder of a peer: its Shared Base is signed, or BUILD with the records there."),
    ] = None,
    identity: Annotated[
        Path | None, typer.Option(help="The peer's key file; the state folder's own if left out.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Labelled folder: the Shared Base is scored on what it has for evaluation alone."),
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="Policy of --data; its own policy.toml if left out.")] = None,
    tier: arguments.TierOption = "public",
    json: JsonFlag = False,
) -> None:
    """Sign where a model comes from, beside its files: parents, rounds, data labels, privacy, evaluation, code.

    Names and digests of data sets never appear: a data set is known by a salted commitment.
    """
    from functools import partial

    from peers.lineage.builds import sign_build
    from peers.lineage.measured import held_out
    from peers.lineage.sign import sign_state
    from swarm.clock import unix_s
    from swarm.identity.key import Identity

    shown_to = arguments.shown_to(tier)
    if state is not None:
        arguments.existing_file(state, "--state")
    if build is not None:
        arguments.existing_file(build, "BUILD")
    if data is not None:
        arguments.existing_file(data, "--data")
        if build is not None:
            raise UsageError("--data is for the Shared Base: a build has been scored after every stage")
    key = Identity.load(arguments.key_of(state, identity))
    if build is not None:
        signed = sign_build(build, key, tier=shown_to, at=unix_s(), state=state)
    elif state is not None:
        measure = None if data is None else partial(held_out, data=data, policy=policy)
        signed = sign_state(state, key, tier=shown_to, at=unix_s(), measure=measure)
    else:
        raise UsageError("give the folder of a build, or --state with a peer's state folder")
    base = signed.statement.predicate.base
    document = {
        "file": str(signed.file),
        "kind": signed.statement.predicate.kind,
        "run_id": base.run_id,
        "round": base.round,
        "state_digest": base.state,
        "signer": key.peer_id,
        "files": {subject.name: subject.digest for subject in signed.statement.subject},
    }
    show(document, f"signed: {signed.file}, round {base.round} of run {base.run_id}", as_json=json)


@app.command("verify")
def verify(
    model: Model,
    state: State = None,
    run_id: Annotated[str | None, typer.Option(help="Refuse a model of any other run.")] = None,
    state0: Annotated[
        Path | None, typer.Option(help="The charter's CHARTER.state0.safetensors, to replay means from the beginning.")
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Check a model's statement; with --state walk the signed records back to the charter and replay the means held.

    Says how far it could look. Exit 1 with the cause when anything does not hold.
    """
    import msgspec

    from peers.lineage.verify import verify as check

    for option, path in (("--state", state), ("--state0", state0)):
        if path is not None:
            arguments.existing_file(path, option)
    found = check(model, state, run_id, state0)
    lineage = found.statement.predicate
    document = {
        "valid": True,
        "kind": lineage.kind,
        "run_id": lineage.base.run_id,
        "round": lineage.base.round,
        "state_digest": lineage.base.state,
        "signer": found.signer,
        "signer_is": found.signer_is,
        "coverage": msgspec.to_builtins(found.coverage),
    }
    show(document, found.text, as_json=json)


@app.command("show")
def show_graph(
    model: Model,
    dot: Annotated[bool, typer.Option("--dot", help="Print the graph for Graphviz instead.")] = False,
    json: JsonFlag = False,
) -> None:
    """Print what a model was made from, as its signed statement says; `verify` checks it further."""
    import msgspec

    from peers.lineage.graph import as_dot, as_text
    from peers.lineage.verify import find_statement, read_statement

    signer, found = read_statement(find_statement(model)[0])
    document = {"signer": signer, "statement": msgspec.to_builtins(found)}
    show(document, as_dot(found) if dot else as_text(found, signer), as_json=json)


@app.command("export")
def export(
    model: Model,
    out: Annotated[Path, typer.Option(help="Where to write the document; must not exist yet.")],
    form: Annotated[str, typer.Option("--format", help="spdx, cyclonedx or eu-summary.")],
    json: JsonFlag = False,
) -> None:
    """Write a verified statement as SPDX 3, as a CycloneDX ML-BOM, or as the EU summary of training content.

    The EU summary is Markdown, and JSON where --out ends in .json. What is on no record is written as not known.
    """
    from peers.lineage.export import FORMATS, write_export

    arguments.one_of(form, list(FORMATS), "--format")
    written = write_export(model, arguments.new_file(out), form)
    document = {"file": str(out), "format": form, "bytes": written, "validated": form != "eu-summary"}
    show(document, f"{form} written to {out} ({written} bytes)", as_json=json)
