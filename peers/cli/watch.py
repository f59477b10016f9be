"""`tapestry watch` and `tapestry dashboard`: see a swarm, or what state folders remember, without taking part."""

from pathlib import Path
from typing import Annotated

import typer

from peers.cli.output import JsonFlag, show

Address = Annotated[
    str | None, typer.Argument(metavar="[MULTIADDR]", help="A bootstrap node or any peer, ending in /p2p/<peer id>.")
]
Events = Annotated[
    Path | None,
    typer.Option("--events", help="Instead of a swarm: an events.jsonl, or a folder with some; no network."),
]
RunId = Annotated[str | None, typer.Option(help="Refuse any other run than this one.")]
Passport = Annotated[
    Path | None, typer.Option(help="Passport of an observer (or a peer), for what a run shows to its members only.")
]
IdentityKey = Annotated[Path | None, typer.Option(help="Key file that the passport was issued to.")]


def watch(
    address: Address = None,
    log: Events = None,
    run_id: RunId = None,
    passport: Passport = None,
    identity: IdentityKey = None,
) -> None:
    """See a swarm in this terminal: regions, peers, rounds, losses, what crosses borders.

    It takes no part and can see no update. Without a passport a members' run shows its charter and directory only.
    """
    import asyncio

    from peers.watch.app import WatchApp
    from peers.watch.source import Source

    source = Source(address, log, run_id=run_id, passport=passport, identity=identity)
    app = WatchApp(source)
    asyncio.run(app.run_async())
    app.raise_failure()


def dashboard(
    address: Address = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on 127.0.0.1; 0 is any free one.")] = 8470,
    log: Events = None,
    run_id: RunId = None,
    passport: Passport = None,
    identity: IdentityKey = None,
    as_json: JsonFlag = False,
) -> None:
    """See a swarm on a web page of this machine; Ctrl+C stops it.

    The page is served on loopback only and loads nothing from elsewhere. It takes no part and can see no update.
    """
    import asyncio

    from peers.dashboard.server import open_port, serve
    from peers.watch.source import Source

    source = Source(address, log, run_id=run_id, passport=passport, identity=identity)
    listening = open_port(port)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    show({"url": url}, f"{url}  (Ctrl+C to stop)", as_json=as_json)
    asyncio.run(serve(source.scene, listening, source.watch))
