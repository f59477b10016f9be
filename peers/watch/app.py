"""The terminal view of a swarm: figures, peers, regions, links and rounds, drawn again when the scene has changed."""

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import DataTable, Footer, Sparkline, Static

from peers.watch.source import Source
from peers.watch.words import UNKNOWN, ago, bytes_of, figure, seconds
from swarm.errors import TapestryError
from swarm.telemetry.view import UNPLACED, Links, PeerRow, RegionRow, RoundRow, View

DRAWN_EVERY_S = 5.0
"""At least so often: who was last heard when is shown."""
LEAST_BETWEEN_S = 0.25
_STYLES = {"training": "green", "ready": "green", "joining": "yellow", "leaving": "yellow", "silent": "bold red"}

PEER_COLUMNS = (
    "peer",
    "member",
    "region",
    "state",
    "round",
    "tok/s",
    "loss",
    "isolation",
    "sent",
    "refused",
    "ε",
    "heard",
)
REGION_COLUMNS = ("region", "peers", "tok/s", "loss", "inside", "across")
ROUND_COLUMNS = ("round", "record", "votes", "counted", "form", "average", "all", "inside", "across", "base")


class WatchApp(App[None]):
    """Draws a source's scene until its user leaves or the source fails."""

    CSS = """
    Screen { background: $background; }
    #head { height: auto; padding: 0 1; text-style: bold; }
    #remarks { height: auto; padding: 0 1; color: $text-muted; }
    #charts { height: 3; }
    #charts Static { width: auto; padding: 0 1; height: 1; }
    Sparkline { width: 1fr; height: 2; margin: 0 1; }
    DataTable { height: auto; max-height: 999; margin: 0 1 1 1; }
    .title { padding: 0 1; color: $text-muted; }
    """
    BINDINGS: ClassVar = [Binding("q", "quit", "Leave"), Binding("ctrl+c", "quit", "Leave", show=False)]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._failure: BaseException | None = None

    def raise_failure(self) -> None:
        """Raises what ended the source, if something did."""
        if self._failure is not None:
            raise self._failure

    def compose(self) -> ComposeResult:
        yield Static(id="head")
        yield Static(id="remarks")
        with Horizontal(id="charts"):
            yield Static("loss", classes="title")
            yield Sparkline([], id="loss")
            yield Static("seconds per round", classes="title")
            yield Sparkline([], id="seconds")
        with VerticalScroll():
            for name in ("peers", "regions", "links", "rounds"):
                yield Static(name, classes="title")
                yield DataTable[Text](id=name, cursor_type="none", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        for name, columns in (("peers", PEER_COLUMNS), ("regions", REGION_COLUMNS), ("rounds", ROUND_COLUMNS)):
            self.query_one(f"#{name}", DataTable).add_columns(*columns)
        self.run_worker(self._watch(), exit_on_error=False)
        self.run_worker(self._keep_drawing())

    async def _watch(self) -> None:
        try:
            await self._source.watch()
        except TapestryError as error:
            self._failure = error
            self.exit()

    async def _keep_drawing(self) -> None:
        scene = self._source.scene
        while True:
            changed = scene.changed.wait_within(DRAWN_EVERY_S)
            self.draw(scene.view)
            await changed
            await asyncio.sleep(LEAST_BETWEEN_S)

    def draw(self, view: View) -> None:
        """Shows one view."""
        self.query_one("#head", Static).update(headline(view, self._source.name))
        self.query_one("#remarks", Static).update(Text("\n".join(view.remarks)))
        rounds = [row for row in view.rounds if row.committed]
        losses = [sum(row.loss.values()) / len(row.loss) for row in rounds if row.loss]
        self.query_one("#loss", Sparkline).data = losses
        self.query_one("#seconds", Sparkline).data = [row.seconds for row in rounds if row.seconds is not None]
        self._fill("peers", [peer_cells(row) for row in view.peers])
        self._fill("regions", [region_cells(row) for row in view.regions])
        self._draw_links(view)
        self._fill("rounds", [round_cells(row) for row in reversed(view.rounds)])

    def _draw_links(self, view: View) -> None:
        """The matrix of links, whose columns change with the peers; where a border is crossed it is coloured."""
        table = self.query_one("#links", DataTable)
        table.clear(columns=True)
        if view.links.names:
            table.add_columns("from \\ to", *view.links.names)
        for row in link_cells(view.links):
            table.add_row(*row)

    def _fill(self, name: str, rows: Sequence[Sequence[Text]]) -> None:
        table = self.query_one(f"#{name}", DataTable)
        table.clear()
        for row in rows:
            table.add_row(*row)


def headline(view: View, name: str) -> Text:
    """The figures of the whole swarm, in one line."""
    totals = view.totals
    title = name if view.run is None else view.run.name
    parts = [
        title,
        f"round {view.head}",
        f"{totals.live} of {totals.peers} peers live",
        f"{totals.tokens_per_s:,.0f} tokens/s",
    ]
    if totals.telling:
        parts += [
            f"{bytes_of(totals.inside_bytes)} inside regions",
            f"{bytes_of(totals.across_bytes)} across borders",
            f"{totals.refused} frames refused",
        ]
    if totals.denied:
        parts.append(f"{totals.denied} updates kept back")
    if totals.epsilon is not None:
        parts.append(f"ε {totals.epsilon:.2f} spent at most")
    return Text(" · ".join(parts))


def peer_cells(row: PeerRow) -> list[Text]:
    """A line of the table of peers."""
    words = [row.name, row.member or UNKNOWN, row.region]
    numbers = [str(row.round), f"{row.tokens_per_s:,.0f}", figure(row.loss)]
    told = [bytes_of(row.sent_bytes), str(row.refused)] if row.tells else [UNKNOWN, UNKNOWN]
    rest = [*told, figure(row.epsilon, 2), ago(row.seen_s_ago)]
    state = Text(row.state, _STYLES.get(row.state, ""))
    return [*map(Text, words), state, *map(_right, numbers), Text(row.isolation or UNKNOWN), *map(_right, rest)]


def region_cells(row: RegionRow) -> list[Text]:
    """A line of the table of regions."""
    where = f"{row.name} ({', '.join(row.jurisdictions)})" if row.jurisdictions else row.name
    numbers = [f"{row.live} of {row.peers}", f"{row.tokens_per_s:,.0f}", figure(row.loss)]
    return [Text(where), *map(_right, [*numbers, bytes_of(row.inside_bytes), bytes_of(row.across_bytes)])]


def link_cells(links: Links) -> list[list[Text]]:
    """The matrix of links, a line for each that has sent something."""
    return [
        [Text(links.names[source]), *(_link(links, source, target) for target in range(len(row)))]
        for source, row in enumerate(links.bytes)
        if any(row)
    ]


def _link(links: Links, source: int, target: int) -> Text:
    count = links.bytes[source][target]
    regions = links.regions[source], links.regions[target]
    is_across = count > 0 and regions[0] != regions[1] and regions[1] != UNPLACED
    return Text(bytes_of(count) if count else "", "yellow" if is_across else "", justify="right")


def round_cells(row: RoundRow) -> list[Text]:
    """A line of the table of rounds."""
    record = Text("bases differ", "bold red") if row.apart else Text("verified", "green")
    if not row.apart and row.rejecting is not None:
        record = Text(f"rejected, {row.rejecting:g} to {row.accepting or 0:g}", "yellow")
    elif not row.apart and not row.verified:
        record = Text("reported" if row.committed else "open", "dim")
    votes = UNKNOWN if row.votes is None else f"{row.votes} of {row.voters}"
    counted = f"{row.counted} of {row.peers}" if row.peers else UNKNOWN
    numbers = [votes, counted, seconds(row.form_s), seconds(row.reduce_s), seconds(row.seconds)]
    traffic = [bytes_of(row.inside_bytes), bytes_of(row.across_bytes)]
    return [Text(str(row.round)), record, *map(_right, numbers + traffic), Text(row.state_digest[:12])]


def _right(text: str) -> Text:
    return Text(text, justify="right")
