"""The `bench` commands of `tapestry`. Heavy imports stay inside the commands, so that `--help` is instant."""

from enum import StrEnum
from typing import Annotated, Literal

import typer

app = typer.Typer(name="bench", help="Measure this machine and the engine.", no_args_is_help=True)


class Baseline(StrEnum):
    """Engines that can be measured next to ours."""

    HIVEMIND = "hivemind"
    GLOO = "gloo"


@app.callback()
def bench() -> None:
    """Measure this machine and the engine."""


@app.command()
def allreduce(
    peers: Annotated[int, typer.Option(min=2, max=64, help="Peers, each a process of its own.")] = 4,
    mb: Annotated[int, typer.Option(min=1, help="Float32 vector per peer, in 10^6 bytes.")] = 128,
    codec: Annotated[Literal["int8", "float32"], typer.Option(help="Wire format.")] = "int8",
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Counted rounds, after two of warm-up.")] = 5,
    baseline: Annotated[list[Baseline] | None, typer.Option(help="Measure this too; repeatable.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Average one vector between local peers: seconds, CPU seconds, wire bytes, memory."""
    from rich.console import Console

    from benchmarks import report
    from benchmarks.allreduce import run

    errors = Console(stderr=True)
    document = run(
        peers,
        mb,
        codec,
        rounds,
        [one.value for one in baseline or []],
        lambda line: errors.print(line, highlight=False),
    )
    if json:
        print(report.to_json(document))
        return
    load = f"load {document.machine.load_1m:.2f} before the start"
    errors.print(f"{document.machine.cpu}, {document.machine.cores} cores, {load}", highlight=False)
    Console().print(report.table(document.results))
