"""The pilot's screen: what each region is doing now, and a line for whatever is worth remembering."""

from math import isfinite

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from swarm import events


class Row:
    """What is shown of one peer."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.phase = "starting"
        self.round = 0
        self.loss = float("nan")
        self.tokens_per_s = 0.0
        self.bytes_out = 0
        self.epsilon: float | None = None


class Screen:
    """A live table on a terminal; plain lines elsewhere."""

    def __init__(self, console: Console, rounds: int) -> None:
        self.console = console
        self._rounds = rounds
        self._rows: dict[str, Row] = {}
        self._live = Live(console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Screen":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def say(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)

    def add(self, peer: str, region: str) -> None:
        self._rows[peer] = Row(region)
        self._draw()

    def mark(self, peer: str, phase: str) -> None:
        self._rows[peer].phase = phase
        self._draw()

    def take(self, peer: str, event: events.AnyEvent) -> None:
        """Updates a peer's row."""
        row = self._rows[peer]
        match event:
            case events.StateReady():
                row.round, row.phase = event.round, "starting the trainer"
            case events.TrainingProgress():
                row.loss, row.tokens_per_s, row.phase = event.loss, event.tokens_per_s, "training"
            case events.UpdateReady():
                row.loss, row.phase = event.loss, "meeting the others"
            case events.RosterReady():
                row.phase = "averaging"
            case events.RoundCommitted():
                row.round, row.phase = event.round, "training"
            case events.PrivacySpent():
                row.epsilon = event.epsilon
            case events.BytesOut():
                row.bytes_out = sum(event.by_kind.values())
            case events.NodeStopped():
                row.phase = "done"
            case _:
                return
        self._draw()

    def _draw(self) -> None:
        table = Table(box=None, pad_edge=False, header_style="dim")
        has_epsilon = any(row.epsilon is not None for row in self._rows.values())
        columns = (
            "region",
            "peer",
            "round",
            "doing",
            "loss",
            "bytes/s",
            "MB out",
            *(("ε spent",) if has_epsilon else ()),
        )
        for name in columns:
            table.add_column(name, justify="left" if name in ("region", "peer", "doing") else "right")
        for peer, row in self._rows.items():
            table.add_row(
                row.region,
                f"…{peer[-6:]}",
                f"{row.round}/{self._rounds}",
                row.phase,
                f"{row.loss:.3f}" if isfinite(row.loss) else "-",
                f"{row.tokens_per_s:,.0f}",
                f"{row.bytes_out / 1e6:.2f}",
                *((_figure(row.epsilon),) if has_epsilon else ()),
            )
        self._live.update(table)


def _figure(epsilon: float | None) -> str:
    return "-" if epsilon is None else f"{epsilon:.2f}"
