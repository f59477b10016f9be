"""`tapestry build`: from the Shared Base to a member's own model, on the member's own machine, stage by stage."""

import signal
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from peers.cli import arguments
from peers.cli.output import JsonFlag, show

if TYPE_CHECKING:
    from peers.build.jobs import FromWorker
    from peers.build.rebase import Judged
    from peers.build.recipe import Asked
    from peers.build.record import BuildRecord, StageName
    from swarm.sovereignty.entry import Tier

app = typer.Typer(help="Make your own model from the Shared Base, in stages; nothing of it leaves.")

Build = Annotated[Path, typer.Argument(metavar="BUILD", help="The build's folder.")]
Base = Annotated[Path, typer.Option("--base", help="State folder of a peer; its records prove the Shared Base.")]
Round = Annotated[int | None, typer.Option("--round", min=0, help="Round to take the base of; the last if left out.")]
Data = Annotated[list[str], typer.Option("--data", help="A data set's name in the policy file. Repeat for more.")]
MethodOption = Annotated[
    Literal["lora", "full"], typer.Option(help="An adapter beside the weights, which can be rebased; or all weights.")
]
Steps = Annotated[int, typer.Option(min=1, help="Optimiser steps.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Sequences per step.")]
LearningRate = Annotated[float, typer.Option(help="Peak learning rate.")]
SequenceLength = Annotated[int, typer.Option(min=64, help="Tokens (bytes) per sequence; a canary must fit in.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the order of data.")]
Retention = Annotated[
    float, typer.Option(help="Refuse a stage that makes other languages worse than so many times the Shared Base.")
]
Exposure = Annotated[float, typer.Option(help="Refuse a stage that memorises a canary by more bits than that.")]


@app.command("new")
def new(
    build: Build,
    base: Base,
    data: Annotated[Path, typer.Option(help="Folder of the member's data, with a policy.toml that labels all of it.")],
    policy: Annotated[Path | None, typer.Option(help="Policy file; DATA/policy.toml if left out.")] = None,
    round_number: Round = None,
    member: Annotated[str, typer.Option(help="Whose build it is.")] = "",
    jurisdiction: Annotated[
        str, typer.Option(help="ISO 3166 code of where this machine stands; sovereign and private data need it.")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Verify a Shared Base from the charter on, and begin a build on it."""
    from peers.build.begin import Beginning, begin
    from swarm.charter.rules import is_jurisdiction
    from swarm.errors import UsageError
    from swarm.sovereignty.policy import find_policy

    if jurisdiction and not is_jurisdiction(jurisdiction):
        raise UsageError(f"--jurisdiction: {jurisdiction!r} is not a two-letter ISO 3166 code such as DE")
    arguments.existing_file(base, "--base")
    arguments.existing_file(data, "--data")
    found = find_policy(data, policy)
    record = begin(build, Beginning(base, round_number, data, found, member, jurisdiction))
    text = f"verified: the Shared Base of round {record.base.round}\nnext: `tapestry build run {build} --recipe FILE`"
    show(_document(record), text, as_json=as_json)


@app.command("run")
def run(
    build: Build,
    recipe: Annotated[Path, typer.Option(help="The stages in order, as TOML (docs/build.md).")],
    identity: Annotated[
        Path | None, typer.Option(help="Key file: sign where the model comes from (`tapestry lineage sign`).")
    ] = None,
    tier: arguments.TierOption = "public",
    as_json: JsonFlag = False,
) -> None:
    """Run the stages of a recipe in order; what is done already is passed over."""
    from peers.build.recipe import read_recipe

    shown_to = arguments.shown_to(tier)
    if identity is not None:
        from swarm.identity.key import Identity

        Identity.load(identity)  # said now rather than after hours of training
    document, text = _stages(build, read_recipe(recipe), as_json=as_json, in_order=True)
    if identity is not None:
        document["statement"] = _sign(build, identity, shown_to)
    show(document, text, as_json=as_json)


def _single(name: "StageName", summary: str) -> Callable[..., None]:
    """The command of one stage."""

    def command(
        build: Build,
        data: Data,
        method: MethodOption = "lora",
        steps: Steps = 100,
        batch_size: BatchSize = 8,
        learning_rate: LearningRate = 5e-4,
        sequence_length: SequenceLength = 256,
        seed: Seed = 0,
        retention_factor: Retention = 1.25,
        max_exposure_bits: Exposure = 9.0,
        as_json: JsonFlag = False,
    ) -> None:
        from peers.build.recipe import Asked, check_asked
        from peers.build.record import Canaries, Limits, Settings

        settings = Settings(
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            sequence_length=sequence_length,
            seed=seed,
        )
        limits = Limits(retention_factor=retention_factor, max_exposure_bits=max_exposure_bits)
        asked = Asked(name, tuple(data), method, settings, Canaries(), limits)
        check_asked(asked, "the command line")
        show(*_stages(build, [asked], as_json=as_json, in_order=False), as_json=as_json)

    command.__doc__ = summary
    return command


app.command("cpt")(_single("cpt", "Private continued pre-training, on text."))
app.command("sft")(_single("sft", "Instruction tuning, on JSON lines of prompt and completion, or of messages."))
app.command("dpo")(_single("dpo", "Preference alignment (DPO), on JSON lines of prompt, chosen and rejected."))


@app.command("evaluate")
def evaluate(build: Build, as_json: JsonFlag = False) -> None:
    """Score the model as it lies beside its Shared Base; exit 1 if the gate would refuse it now."""
    from peers.build.rebase import evaluate_build

    with _ending(build, "the same command scores it"):
        judged = evaluate_build(build, _progress("evaluate"))
    _show_judged(judged, "the model as it lies", {"base": "Shared Base", "after": "model"}, as_json=as_json)


@app.command("rebase")
def rebase(
    build: Build,
    base: Base,
    out: Annotated[Path, typer.Option(help="Folder of the new build; the old one stays as it is.")],
    round_number: Round = None,
    as_json: JsonFlag = False,
) -> None:
    """Put the build's adapters on a newer Shared Base, and say what that gained or lost."""
    from peers.build.rebase import rebase as put_on

    arguments.existing_file(base, "--base")
    with _ending(build, "the same command begins anew"):
        judged = put_on(build, base, round_number, out, _progress("rebase"))
    columns = {"base": "new Shared Base", "before": "before", "after": "rebased"}
    _show_judged(judged, f"on the Shared Base of round {judged.record.base.round}", columns, as_json=as_json)


@app.command("show")
def show_build(build: Build, as_json: JsonFlag = False) -> None:
    """Print what a build was made from, and how far it is."""
    from peers.build.record import read_record
    from peers.build.table import record_lines

    record = read_record(build)
    show(_document(record), "\n".join(record_lines(record)), as_json=as_json)


def _stages(build: Path, asked: "Sequence[Asked]", *, as_json: bool, in_order: bool) -> tuple[dict[str, Any], str]:
    """Runs them; the build's record then, as a document and as text."""
    from rich.console import Console

    from peers.build.confined import BuildError
    from peers.build.record import read_record
    from peers.build.stages import run_stage
    from peers.build.table import record_lines, score_table, stage_line

    console = Console(stderr=True)
    record = read_record(build)
    for position, each in enumerate(asked):
        with _ending(build, "the same command goes on from the last checkpoint"):
            end = run_stage(build, each, _progress(each.name), position if in_order else None)
        record = end.record
        if end.was_done:
            console.print(f"{each.name}: done before", highlight=False)
            continue
        console.print(stage_line(end.stage), highlight=False, soft_wrap=True)
        columns = {"base": "Shared Base", "before": "before", "after": "after"}
        console.print(score_table(end.stage.evaluation.languages, columns))
        if end.stage.reasons:
            if as_json:
                show(_document(record), "", as_json=True)
            raise BuildError(f"stage {end.stage.n}-{end.stage.name} is refused: {'; '.join(end.stage.reasons)}")
    return _document(record), "\n".join(record_lines(record))


def _sign(build: Path, identity: Path, tier: "Tier") -> str:
    from peers.lineage.builds import sign_build
    from swarm.clock import unix_s
    from swarm.identity.key import Identity

    return str(sign_build(build, Identity.load(identity), tier=tier, at=unix_s()).file)


def _show_judged(judged: "Judged", title: str, columns: dict[str, str], *, as_json: bool) -> None:
    import msgspec
    from rich.console import Console

    from peers.build.confined import BuildError
    from peers.build.table import gauges, score_table

    console = Console(stderr=as_json)
    console.print(f"{title}: held-out bits per byte, lower is better", highlight=False)
    console.print(score_table(judged.evaluation.languages, columns))
    document = {
        **_document(judged.record),
        "evaluation": msgspec.to_builtins(judged.evaluation),
        "refused": list(judged.reasons),
        "isolation": judged.isolation,
    }
    show(document, gauges(judged.evaluation), as_json=as_json)
    if judged.reasons:
        raise BuildError(f"the gate refuses it: {'; '.join(judged.reasons)}")


def _document(record: "BuildRecord") -> dict[str, Any]:
    import msgspec

    return msgspec.to_builtins(record)


def _progress(title: str) -> "Callable[[FromWorker], None]":
    from rich.console import Console

    from peers.build.table import Progress

    return Progress(Console(stderr=True), title).show


@contextmanager
def _ending(build: Path, what_next: str) -> Generator[None]:
    """SIGTERM counts as Ctrl+C meanwhile, and either ends in one line that says what to do next."""

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        from peers.build.confined import BuildError

        raise BuildError(f"interrupted; {build} is kept: {what_next}") from None
    finally:
        signal.signal(signal.SIGTERM, before)
