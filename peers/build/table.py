"""What the build's commands show people: scores as a table, a stage in a line, progress as it goes. No decisions."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from peers.build.jobs import Confined, Doing, FromWorker, Step
from peers.build.record import BuildRecord, LanguageScore, Stage


def score_table(scores: Sequence[LanguageScore], before: str, after: str) -> Table:
    """Held-out bits per byte of three models, and what the last lost (+) or gained (-) over the second."""
    table = Table()
    for heading in ("bits per byte", "Shared Base", before, after, "change"):
        table.add_column(heading, justify="left" if heading == "bits per byte" else "right")
    for score in sorted(scores, key=lambda score: (not score.is_own, score.language)):
        name = f"{score.language} (own)" if score.is_own else score.language
        change = f"{score.after - score.before:+.3f}"
        table.add_row(name, f"{score.base:.3f}", f"{score.before:.3f}", f"{score.after:.3f}", change)
    return table


def stage_line(stage: Stage) -> str:
    """One stage in a line."""
    worst = max((score.exposure_bits for score in stage.evaluation.canaries), default=0.0)
    names = ", ".join(used.name for used in stage.data)
    return (
        f"{stage.n}-{stage.name} ({stage.method}, {stage.settings.steps} steps) on {names}: {stage.verdict}; "
        f"highest exposure {worst:.1f} bits; isolation: {stage.isolation}"
    )


def record_lines(record: BuildRecord) -> list[str]:
    """A build in lines."""
    lines = [f"Shared Base of round {record.base.round}, state {record.base.state}, run {record.base.run_id}"]
    if record.rebased is not None:
        lines.append(f"rebased from round {record.rebased.base.round}")
    for stage in record.stages:
        lines.append(stage_line(stage))
        lines += [f"  refused: {reason}" for reason in stage.reasons]
    lines.append("no model yet" if record.result is None else f"model: {record.result.folder}, {record.result.digest}")
    return lines


class Progress:
    """Tells a person how far a worker is: one line that changes on a terminal, a few lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._title = ""
        self._last = 0

    def begin(self, title: str) -> None:
        self._title, self._last = title, 0

    def show(self, message: FromWorker) -> None:
        match message:
            case Confined():
                self._say(f"isolation: {message.isolation} ({message.detail})")
            case Doing() if message.what == "training" and message.resumed_step:
                self._say(f"going on from the checkpoint of step {message.resumed_step}")
            case Doing():
                self._say(message.what)
            case Step():
                self._step(message)
            case _:
                pass

    def _step(self, message: Step) -> None:
        tenths = 10 * message.step // message.steps
        loss = "" if message.loss is None else f", loss {message.loss:.3f}"
        if self._console.is_terminal:
            self._console.print(f"{self._title}: step {message.step} of {message.steps}{loss}  ", end="\r")
            if message.step == message.steps:
                self._console.print()
        elif tenths > self._last:
            self._last = tenths
            self._say(f"step {message.step} of {message.steps}{loss}")

    def _say(self, text: str) -> None:
        self._console.print(f"{self._title}: {text}", highlight=False, soft_wrap=True)
