"""What the build's commands show people: scores as a table, a stage in a line, progress as it goes. No decisions."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from peers.build.gate import retention
from peers.build.jobs import Confined, Doing, FromWorker, Step
from peers.build.record import BuildRecord, Evaluation, LanguageScore, Stage, trained


def score_table(scores: Sequence[LanguageScore], columns: Mapping[str, str]) -> Table:
    """Held-out bits per byte, and what the last of some models has gained (-) or lost (+) over the one before.

    Args:
        columns: headings by field of a score: two or three of `base`, `before`, `after`.
    """
    table = Table()
    table.add_column("bits per byte")
    for heading in (*columns.values(), "change"):
        table.add_column(heading, justify="right")
    for score in sorted(scores, key=lambda score: (not score.is_own, score.language)):
        values: list[float] = [getattr(score, field) for field in columns]
        change = values[-1] - values[-2]
        table.add_row(
            f"{score.language} (own)" if score.is_own else score.language,
            *(f"{value:.3f}" for value in values),
            f"{change:+.3f} {'gained' if change < 0 else 'lost'}" if f"{abs(change):.3f}" != "0.000" else "0.000",
        )
    return table


def stage_line(stage: Stage) -> str:
    """One stage in a line."""
    names = ", ".join(used.name for used in stage.data)
    return (
        f"{stage.n}-{stage.name} ({stage.method}, {stage.settings.steps} steps) on {names}: {stage.verdict}; "
        f"{gauges(stage.evaluation)}; isolation: {stage.isolation}"
    )


def gauges(evaluation: Evaluation) -> str:
    """What the gate looks at besides the member's own languages, in words."""
    kept = retention(evaluation)
    worst = max((score.exposure_bits for score in evaluation.canaries), default=None)
    return (
        f"other languages {'not scored' if kept is None else f'at most {kept:.3f} times the Shared Base'}; "
        f"{'no canary scored' if worst is None else f'highest canary exposure {worst:.1f} bits'}"
    )


def record_lines(record: BuildRecord) -> list[str]:
    """A build in lines."""
    lines = [f"Shared Base of round {record.base.round}, state {record.base.state}, run {record.base.run_id}"]
    lines += [f"rebased: {trained(stages)} on round {place.base.round}" for place, stages in record.moves]
    for stage in record.stages:
        lines.append(stage_line(stage))
        lines += [f"  refused: {reason}" for reason in stage.reasons]
    lines.append("no model yet" if record.result is None else f"model: {record.result.folder}, {record.result.digest}")
    return lines


class Progress:
    """Tells a person how far a worker is: one line that changes on a terminal, a few lines elsewhere."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._tenths = 0

    def show(self, message: FromWorker) -> None:
        match message:
            case Confined():
                self._say(f"isolation: {message.isolation} ({message.detail})")
            case Doing():
                self._say(message.what)
                if message.is_damaged:
                    self._say("what an earlier try has left is damaged (a power cut?): that part is trained again")
                if message.resumed_step:
                    self._say(f"going on from the checkpoint of step {message.resumed_step}")
                if message.left_out:
                    self._say(f"{message.left_out} examples left out: their prompts leave no room in a sequence")
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
        elif tenths > self._tenths:
            self._tenths = tenths
            self._say(f"step {message.step} of {message.steps}{loss}")

    def _say(self, text: str) -> None:
        self._console.print(f"{self._title}: {text}", highlight=False, soft_wrap=True)
