"""`tapestry demo`: the three-region pilot on this machine."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from peers.cli.output import JsonFlag, show


def demo(
    rounds: Annotated[
        int, typer.Option(min=1, max=1000, help="Rounds to commit; 5 or more kill a peer and add one.")
    ] = 25,
    out: Annotated[Path, typer.Option(help="Folder for the report and everything behind it.")] = Path("tapestry-demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the initial weights and of the order of data.")] = 0,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Instead of Debian texts: a folder with eu/, east-asia/, southeast-asia/, each with a policy.toml."
        ),
    ] = None,
    privacy: Annotated[
        Literal["dp", "secagg"] | None,
        typer.Option(
            help="A privacy tier for all text: dp trains under differential privacy, secagg sums under masks, "
            "with three members per region."
        ),
    ] = None,
    build: Annotated[
        bool,
        typer.Option(
            "--build", help="In the end every region makes its own model, from the Shared Base and text that it kept."
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Run the pilot: three regions train one shared model on their own languages, with no coordinator.

    Fetches real text once, starts a bootstrap node and three peers on loopback, kills one with SIGKILL, lets a fresh
    one join, and compares the Shared Base with each region training alone. The report is OUT/report.html.
    """
    import signal
    import sys

    from rich.console import Console

    from peers.demo.pilot import Pilot
    from peers.demo.screen import Screen
    from peers.demo.settings import Settings
    from peers.demo.table import score_table

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    console = Console(stderr=as_json)
    settings = Settings(rounds=rounds, out=out.absolute(), seed=seed, data=data, privacy=privacy, build=build)
    with Screen(console, rounds) as screen:
        document = Pilot(settings, screen).run()
    if not as_json:
        console.print(score_table(document))
    show(document, f"report: {document['report']}", as_json=as_json)
    sys.stdout.flush()
