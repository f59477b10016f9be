"""`tapestry doctor`: is this machine ready to take part, and if not, what is to be done."""

from pathlib import Path
from typing import Annotated, Any

import typer

from peers.cli.output import FAILED, JsonFlag


def doctor(
    join: Annotated[
        list[str] | None, typer.Option(help="Multiaddr to ask about the way in, NAT and the clock. Repeat for more.")
    ] = None,
    listen: Annotated[
        list[str] | None, typer.Option(help="Multiaddr the peer will listen on; any free TCP port if left out.")
    ] = None,
    state: Annotated[Path | None, typer.Option(help="State folder the peer will use.")] = None,
    json: JsonFlag = False,
) -> None:
    """Check this machine: libraries, memory, disk, accelerator, confinement, ports, and with --join, NAT and clock.

    Takes no part in anything and leaves nothing behind. Exit status 1 if something stands in the way.
    """
    import msgspec
    from rich.console import Console

    from peers.doctor import confinement, machine, network
    from peers.doctor.finding import Finding, Verdict
    from peers.doctor.ports import ports
    from swarm.net.addresses import parse_join_address, parse_listen_address
    from swarm.node.config import ANY_PORT
    from swarm.node.paths import default_state

    joins = [parse_join_address(text) for text in join or ()]
    listens = [parse_listen_address(text) for text in listen or ANY_PORT]
    console = Console(stderr=json, highlight=False, soft_wrap=True)
    found: list[Finding] = []

    def say(finding: Finding) -> None:
        found.append(finding)
        sign = {Verdict.GOOD: "[green]ok   [/green]", Verdict.NOTE: "[yellow]note [/yellow]"}
        console.print(sign.get(finding.verdict, "[red]wrong[/red]"), end=" ")
        console.print(f"{finding.check}: {finding.found}", markup=False)
        if finding.remedy:
            console.print(f"      {finding.remedy}", markup=False, style="dim")

    for finding in machine.all_findings(state or default_state()):
        say(finding)
    say(confinement.trainer())
    say(confinement.node())
    say(ports(listens))
    if found[-1].verdict is not Verdict.WRONG:
        network.run(listens, joins, say)
    is_ready = all(finding.verdict is not Verdict.WRONG for finding in found)
    if json:
        document: dict[str, Any] = {"ready": is_ready, "findings": found}
        typer.echo(msgspec.json.encode(document).decode())
    else:
        console.print("ready to take part" if is_ready else "not ready: mend what is marked wrong", style="bold")
    if not is_ready:
        raise typer.Exit(FAILED)
