"""Every region's own model, made by the commands a member types: `tapestry build new`, `build run`, `lineage verify`.

Two regions at a time. The command that trains is started where there is no network at all, if this machine lets an
ordinary user have such a place; what it starts is confined anyway. A stage that the gate refuses ends a region's build,
not the pilot: the model is what was accepted before it.
"""

import json
import subprocess
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec
import tomli_w

from peers.build.record import BuildRecord
from peers.build.record import Stage as StageRecord
from peers.demo.own_lineage import lineage_of
from peers.demo.own_recipe import recipe
from peers.demo.processes import Command
from peers.demo.sovereign_result import Model, OwnStage
from swarm.clock import pause_s
from swarm.errors import TapestryError, UsageError
from swarm.sovereignty.labels import strictest

APART = ("unshare", "--user", "--map-root-user", "--net")
"""Before a command: it gets a network of its own, with nothing in it."""
_LIBRARIES = ("trl", "peft", "datasets")
_AT_ONCE = 2
_POLL_S = 0.05


@dataclass(frozen=True)
class Builder:
    """A member that makes its region's own model."""

    region: str
    member: str
    jurisdiction: str
    languages: tuple[str, ...]
    state: Path
    """State folder of a peer of its own."""
    identity: Path
    """That peer's key file."""
    data: Path
    folder: Path
    """For the recipe and the build; there already."""
    state0: Path
    """The charter's file of state 0."""

    @property
    def build(self) -> Path:
        return self.folder / "build"


Steps = Generator[Command, dict[str, Any], Model]
"""What one builder does: yields a command, is sent the document that it printed, and returns the model."""


def make_models(builders: Sequence[Builder], say: Callable[[str], None]) -> dict[str, Model]:
    """By region. Raises TapestryError when a command fails."""
    apart = APART if can_be_apart() else ()
    waiting = [(each.region, _steps(each, apart)) for each in reversed(builders)]
    busy: dict[str, tuple[Steps, Command]] = {}
    found: dict[str, Model] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < _AT_ONCE:
                region, steps = waiting.pop()
                busy[region] = steps, next(steps)
            for region, (steps, command) in list(busy.items()):
                if command.is_running:
                    continue
                try:
                    busy[region] = steps, steps.send(_document(command, region))
                except StopIteration as end:
                    del busy[region]
                    found[region] = end.value
                    say(_told(region, end.value))
            pause_s(_POLL_S)
    finally:
        for _, command in busy.values():
            command.stop()
    return {each.region: found[each.region] for each in builders}


def require_libraries() -> None:
    """Raises UsageError where no stage could be trained: said before anything else is."""
    lacking = [name for name in _LIBRARIES if find_spec(name) is None]
    if lacking:
        raise UsageError(f'own models need {" and ".join(lacking)}: pip install "tapestry-swarm[build]"')


def can_be_apart() -> bool:
    """Whether this machine gives a process a network namespace of its own."""
    try:
        return subprocess.run([*APART, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _steps(builder: Builder, apart: Sequence[str]) -> Steps:
    build, key = str(builder.build), str(builder.identity)
    recipe_file = builder.folder / "recipe.toml"
    recipe_file.write_text(tomli_w.dumps(recipe(builder.languages)), encoding="utf-8")
    yield _tapestry(
        *("build", "new", build, "--base", str(builder.state), "--data", str(builder.data)),
        *("--member", builder.member, "--jurisdiction", builder.jurisdiction),
    )
    document = yield _tapestry(
        *("build", "run", build, "--recipe", str(recipe_file), "--identity", key, "--tier", "consortium"), apart=apart
    )
    document.pop("statement", None)
    record = msgspec.convert(document, BuildRecord)
    lineage = None
    if record.result is not None:
        if record.stages != record.accepted:  # a refusal ends the command before it signs
            yield _tapestry("lineage", "sign", build, "--identity", key, "--tier", "consortium")
        verified = yield _tapestry(
            *("lineage", "verify", build, "--state", str(builder.state), "--state0", str(builder.state0)),
            *("--run-id", record.base.run_id),
        )
        shown = yield _tapestry("lineage", "show", build)
        lineage = lineage_of(shown, verified)
    return Model(
        member=builder.member,
        jurisdiction=builder.jurisdiction,
        build=build,
        own=builder.languages,
        digest=record.result and record.result.digest,
        stages=tuple(map(_stage, record.stages)),
        lineage=lineage,
        has_network=not apart,
    )


def _tapestry(*words: str, apart: Sequence[str] = ()) -> Command:
    return Command("peers", [*words, "--json"], before=apart)


def _document(command: Command, region: str) -> dict[str, Any]:
    """What a command printed; one that the gate has ended prints its document too. Raises TapestryError."""
    try:
        return msgspec.convert(command.result(), dict[str, Any])
    except TapestryError as error:
        if command.output:
            return json.loads(command.output)
        raise TapestryError(f"{region}'s own model: {error}") from None


def _stage(stage: StageRecord) -> OwnStage:
    return OwnStage(
        name=stage.name,
        method=stage.method,
        steps=stage.settings.steps,
        data=tuple(used.name for used in stage.data),
        label=strictest(used.label for used in stage.data),
        verdict=stage.verdict,
        reasons=stage.reasons,
        isolation=stage.isolation,
        loss=stage.final_loss,
        exposure_bits=max((score.exposure_bits for score in stage.evaluation.canaries), default=0.0),
        before={score.language: score.before for score in stage.evaluation.languages},
        after={score.language: score.after for score in stage.evaluation.languages},
        seconds=stage.finished - stage.started,
    )


def _told(region: str, model: Model) -> str:
    refused = [stage for stage in model.stages if stage.verdict == "refused"]
    if refused:
        return f"{region}: the gate refuses stage {refused[0].name}: {'; '.join(refused[0].reasons)}"
    last = model.stages[-1]
    change = fmean(last.after[language] - model.stages[0].before[language] for language in model.own)
    return f"{region}: own model made in {len(model.stages)} stages, {change:+.3f} bits per byte in its own languages"
