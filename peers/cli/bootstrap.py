"""`tapestry bootstrap`: the well-known address of a run."""

from pathlib import Path
from typing import Annotated

import typer

from peers.cli.output import JsonFlag, show


def bootstrap(
    charter: Annotated[Path, typer.Option(help="The signed charter; its state 0 file is looked for beside it.")],
    listen: Annotated[
        str, typer.Option(help="Multiaddr to listen on; port 0 is any free one.")
    ] = "/ip4/0.0.0.0/tcp/31337",
    identity: Annotated[
        Path | None,
        typer.Option(help="Key file; keep it, and the address stays the same. Made in --state if left out."),
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Folder for the key, the votes of a witness and the ledger.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run the well-known address of a run: it serves the charter and the directory, and decides nothing.

    Prints the multiaddr that peers give to --join, then serves until Ctrl+C.
    """
    import asyncio
    import sys

    import torch
    import uvloop

    from bootstrap.node import BootstrapNode
    from swarm import events
    from swarm.errors import UsageError
    from swarm.identity.key import Identity
    from swarm.net.addresses import parse_listen_address
    from swarm.node.heap import keep_freed_chunks, leave_imports_out_of_collections
    from swarm.node.paths import default_state

    torch.set_num_threads(1)
    keep_freed_chunks()
    leave_imports_out_of_collections()
    address = parse_listen_address(listen)
    if not charter.exists():
        raise UsageError(f"{charter} does not exist")
    folder = state or default_state().with_name("bootstrap")
    folder.mkdir(parents=True, exist_ok=True)
    key = identity or folder / "identity.key"
    if identity is None:
        Identity.load_or_make(key)

    def log(event: events.AnyEvent) -> None:
        match event:
            case events.FrameRefused():
                print(f"refused a frame of {event.peer}: {event.reason}", file=sys.stderr, flush=True)
            case events.LedgerForked():
                print(f"the ledger of {event.peer} is not the one it had signed: {event.reason}", file=sys.stderr)
            case events.Note():
                print(event.text, file=sys.stderr, flush=True)
            case _:
                pass

    def announce(join: str, run_id: str, has_state: bool, is_witness: bool) -> None:
        document = {"join": join, "run_id": run_id, "serves_state_0": has_state, "witness": is_witness}
        notes = ["serves the charter" + (" and state 0" if has_state else "; no state 0 file lies beside it")]
        if is_witness:
            notes.append("votes as a witness")
        show(document, f"{join}\nrun {run_id}: {', '.join(notes)}. Ctrl+C to stop.", as_json=as_json)

    node = BootstrapNode(charter=charter, identity=key, state=folder, listen=address, sink=log)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(node.run(announce))
