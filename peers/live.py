"""What a person sees of a running peer: one live line on a terminal, one line per happening elsewhere."""

from math import isfinite

from rich.console import Console
from rich.live import Live
from rich.text import Text

from swarm import events

_VOTERS_THAT_SURVIVE_NO_DEATH = 2

_PHASE_OF: dict[type[events.Event], str] = {
    events.CharterReady: "checking the state",
    events.StateReady: "starting the trainer",
    events.TrainerReady: "training",
    events.TrainingProgress: "training",
    events.UpdateReady: "looking for the others",
    events.AttemptStarted: "looking for the others",
    events.RosterReady: "averaging",
    events.Reduced: "voting",
    events.RoundCommitted: "training",
    events.RoundInDoubt: "asking how the round ended",
}


class LiveView:
    """Draws a peer's events. Use as a context manager around `Peer.run`, with `show` as its `on_event`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(Text("starting the node"), console=console, refresh_per_second=5, transient=True)
        self._round = 0
        self._peers = 1
        self._loss = float("nan")
        self._tokens_per_s = 0.0
        self._bytes_out = 0
        self._phase = "starting the node"
        self._refused = 0
        self._voters = 0

    def __enter__(self) -> "LiveView":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, stamped: events.Stamped) -> None:
        """Takes one event: updates the live line, and prints what deserves a line of its own."""
        self._count(stamped.event)
        for text, style in (*sentences(stamped.event), *self._thinned(stamped.event)):
            # Never markup, never control characters: peers' words are quoted here.
            clean = "".join(char if char.isprintable() else "?" for char in text)
            self._console.print(Text(clean, style), soft_wrap=True)
        self._live.update(self._line())

    def _count(self, event: events.AnyEvent) -> None:
        self._phase = _PHASE_OF.get(type(event), self._phase)
        match event:
            case events.StateReady() | events.RoundCommitted():
                self._round = event.round
            case events.TrainingProgress():
                self._loss, self._tokens_per_s = event.loss, event.tokens_per_s
            case events.UpdateReady():
                self._loss = event.loss
            case events.BytesOut():
                self._bytes_out, self._peers = sum(event.by_kind.values()), event.peers
            case events.FrameRefused():
                self._refused += 1
            case _:
                pass

    def _thinned(self, event: events.AnyEvent) -> list[tuple[str, str]]:
        """Says once when so few voters are left that none may be lost."""
        if not isinstance(event, events.RoundCommitted) or event.voters == self._voters:
            return []
        self._voters = event.voters
        if event.voters > _VOTERS_THAT_SURVIVE_NO_DEATH:
            return []
        return [(f"{event.voters} voter(s) are left: every one is needed for every round until others join", "yellow")]

    def _line(self) -> Text:
        return Text(
            f"round {self._round + 1} · {self._phase} · {self._peers} peers · loss {_figure(self._loss)} · "
            f"{self._tokens_per_s:,.0f} tokens/s · {self._bytes_out / 1e6:.2f} MB out"
            + (f" · {self._refused} frames refused" if self._refused else ""),
            style="bold",
            no_wrap=True,
            overflow="ellipsis",
        )


def sentences(event: events.AnyEvent) -> list[tuple[str, str]]:
    """An event in words, each line with its style; nothing for what the live line shows anyway."""
    match event:
        case events.NodeStarted():
            return _introduction(event)
        case events.CharterReady():
            how = {
                "pinned": "as --run-id asked",
                "remembered": "the run this state folder remembers",
                "first use": "trusted on first use, remembered in the state folder from now on",
            }[event.trust]
            return [(f"run {event.run_id} ({how})", "")]
        case events.StateReady():
            size = f", {event.bytes_received / 1e6:.1f} MB" if event.bytes_received else ""
            how = {"disk": "from disk", "replay": "replayed", "download": "downloaded"}[event.source]
            return [(f"Shared Base of round {event.round} verified ({how}{size}): {event.digest[:16]}", "")]
        case events.TrainerReady():
            return [(f"trainer isolation: {event.isolation} ({event.detail})", "")]
        case events.RoundCommitted():
            text = (
                f"round {event.round} committed by {len(event.peers)} peers, {len(event.contributors)} contributed, "
                f"{event.seconds:.1f} s, base {event.state_digest[:16]}"
            )
            return [(text, "")]
        case events.QuorumMissing():
            text = (
                f"round {event.round}: {event.present} of {event.electors} electors are here, {event.needed} are "
                f"needed; rounds pause until enough of these are back: {', '.join(event.missing)}"
            )
            return [(text, "yellow")]
        case events.UpdateDenied():
            return [(f"the gate kept this round's update here: {event.reason}", "yellow")]
        case events.UpdateLate():
            return [(f"round {event.round} was committed before this peer was ready: its steps are dropped", "yellow")]
        case events.PeerLost():
            return [(f"round {event.round}: lost …{event.peer[-8:]} as {event.role}: {event.reason}", "dim")]
        case events.RoundAborted():
            return [(f"round {event.round}, attempt {event.attempt}: {event.reason}", "dim")]
        case events.CaughtUp():
            return [(f"caught up from round {event.from_round} to {event.to_round}", "")]
        case events.FrameRefused():
            return [(f"refused a frame of …{event.peer[-8:]}: {event.reason}", "yellow")]
        case events.Note():
            return [(event.text, "dim")]
        case events.NodeStopped():
            return [(f"saved {event.saved}", "")]
        case _:
            return []


def _introduction(event: events.NodeStarted) -> list[tuple[str, str]]:
    lines = [
        (f"peer {event.peer} of {event.member}, region {event.region}", ""),
        (f"join through this peer: {event.address}", "bold"),
    ]
    if event.admission == "open":
        lines.append(("open run: anyone may take part, passports are self-signed", "yellow"))
    if event.min_contributors == 1:
        lines.append(("min_contributors = 1: single updates may cross borders in this run", "yellow"))
    voters = event.electors + event.witnesses
    if voters <= _VOTERS_THAT_SURVIVE_NO_DEATH:
        text = f"{voters} elector(s): a majority of them survives no death; add genesis peers or witnesses"
        lines.append((text, "yellow"))
    return lines


def _figure(value: float) -> str:
    """A loss, or a dash for one that is not known."""
    return f"{value:.3f}" if isfinite(value) else "-"
