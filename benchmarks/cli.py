"""The `bench` commands of `tapestry`. Heavy imports stay inside the commands, so that `--help` is instant."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(name="bench", help="Measure this machine and the engine.", no_args_is_help=True)


class Baseline(StrEnum):
    """Engines that can be measured next to ours."""

    HIVEMIND = "hivemind"
    GLOO = "gloo"


class CurveCodec(StrEnum):
    """What updates can be sent as."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"
    INT4 = "int4"


@app.callback()
def bench() -> None:
    """Measure this machine and the engine."""


@app.command()
def allreduce(
    peers: Annotated[int, typer.Option(min=2, max=64, help="Peers, each a process of its own.")] = 4,
    mb: Annotated[int, typer.Option(min=1, help="Float32 vector per peer, in 10^6 bytes.")] = 128,
    codec: Annotated[
        Literal["int8", "int4", "bfloat16", "float32", "secagg16"],
        typer.Option(help="Wire format; secagg16: masked updates. Baselines take their nearest."),
    ] = "int8",
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


@app.command()
def wan(
    scenario: Annotated[list[str] | None, typer.Option(help="Measure this one only; repeatable.")] = None,
    mb: Annotated[int, typer.Option(min=1, help="Float32 vector per peer, in 10^6 bytes; states have 400.")] = 256,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Counted rounds, after three of warm-up; or joins.")] = 3,
    slower: Annotated[
        int, typer.Option(min=1, max=100, help="Divide every rate by this, where the processors would be the limit.")
    ] = 1,
    list_: Annotated[bool, typer.Option("--list", help="Name the scenarios and measure nothing.")] = False,
    links: Annotated[bool, typer.Option("--links", help="Measure the links with plain TCP, not the engine.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Average a vector, or join, over slow, distant and unequal links: network namespaces on this machine (Linux)."""
    from benchmarks.wan import privilege, scenarios

    selected = tuple(scenarios.slower(one, slower) for one in scenarios.chosen(scenario or []))
    if list_:
        print(scenarios.to_json(selected) if json else scenarios.to_text(selected))
        return
    privilege.become_root_of_a_user_namespace()

    from rich.console import Console

    from benchmarks.wan import link_report, report
    from benchmarks.wan.run import run

    errors = Console(stderr=True)

    def say(line: str) -> None:
        errors.print(line, highlight=False, soft_wrap=True)

    if links:
        found = link_report.measure(selected, say)
        print(link_report.to_json(found) if json else link_report.to_text(found))
        return
    document = run(selected, mb=mb, rounds=rounds, say=say)
    if json:
        print(report.to_json(document))
        return
    errors.print(report.heading(document), highlight=False)
    for table in report.tables(document.scenarios):
        Console().print(table)


@app.command()
def curves(
    codec: Annotated[
        list[CurveCodec] | None, typer.Option(help="Compare this with float32; repeatable. Default: all.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Trainings per way of sending.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, max=100_000, help="Rounds per training.")] = 200,
    out: Annotated[Path | None, typer.Option(help="Write curves.json and curves.png into this folder.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Train a small model with every codec and compare held-out loss: about a minute per training, on one core."""
    from rich.console import Console

    from benchmarks import curves_report
    from benchmarks.curves import run, save

    errors = Console(stderr=True)
    document = run(
        [one.value for one in codec or list(CurveCodec)],
        seeds=seeds,
        rounds=rounds,
        say=lambda line: errors.print(line, highlight=False, soft_wrap=True),
    )
    if out is not None:
        save(document, out)
    if json:
        print(curves_report.to_json(document))
        return
    Console().print(curves_report.table(document))


@app.command()
def device(
    charter: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Measure this charter's model; else the pilot's.")
    ] = None,
    on: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option("--device", help="What to measure; CUDA where there is any.")
    ] = "auto",
    largest: Annotated[
        int | None, typer.Option(min=1, help="Try micro-batches up to so many sequences, not the charter's batch.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """What this machine can train: memory, dtypes, tokens per second, optimiser memory."""
    from rich.console import Console

    from benchmarks import device_report
    from benchmarks.device import run

    errors = Console(stderr=True)
    document = run(charter, on, largest, lambda line: errors.print(line, highlight=False, soft_wrap=True))
    if json:
        print(device_report.to_json(document))
        return
    for line in device_report.lines(document):
        print(line)


@app.command()
def quantise(
    mb: Annotated[int, typer.Option(min=1, max=4096, help="Float32 input, in 10^6 bytes.")] = 64,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Our codecs beside hivemind's and bitsandbytes': speed on one thread, error, bytes per element."""
    from rich.console import Console

    from benchmarks import quantise_report
    from benchmarks.quantise import run

    errors = Console(stderr=True)
    document = run(mb, lambda line: errors.print(line, highlight=False, soft_wrap=True))
    if json:
        print(quantise_report.to_json(document))
        return
    load = f"load {document.machine.load_1m:.2f} before the start"
    errors.print(f"{document.machine.cpu}, {document.machine.cores} cores, {load}", highlight=False)
    Console().print(quantise_report.table(document))
