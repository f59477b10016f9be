"""`tapestry keys`: makes and shows identity keys."""

from pathlib import Path
from typing import Annotated

import typer

from peers.cli.output import JsonFlag, show
from swarm.identity.key import Identity

app = typer.Typer(help="Make an identity key, or show whose it is.")


@app.command("new")
def new(
    file: Annotated[Path, typer.Argument(help="Where to write the key; must not exist yet.")],
    json: JsonFlag = False,
) -> None:
    """Make an Ed25519 key that only you can read, and print its peer id."""
    identity = Identity.generate()
    identity.save(file)
    show({"peer_id": identity.peer_id, "file": str(file)}, identity.peer_id, as_json=json)


@app.command("show")
def show_key(
    file: Annotated[Path, typer.Argument(help="A key file made by `tapestry keys new`.")],
    json: JsonFlag = False,
) -> None:
    """Print the peer id of a key file."""
    identity = Identity.load(file)
    show({"peer_id": identity.peer_id, "file": str(file)}, identity.peer_id, as_json=json)
