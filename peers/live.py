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
    events.RoundRejected: "training",
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
        self._relayed = 0
        self._phase = "starting the node"
        self._refused = 0
        self._voters = 0
        self._download: events.StateProgress | None = None
        self._tenth_told = -1

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
        for text, style in (*sentences(stamped.event), *self._thinned(stamped.event), *self._tenths(stamped.event)):
            # Never markup, never control characters: peers' words are quoted here.
            clean = "".join(char if char.isprintable() else "?" for char in text)
            self._console.print(Text(clean, style), soft_wrap=True)
        self._live.update(self._line())

    def _count(self, event: events.AnyEvent) -> None:
        self._phase = _PHASE_OF.get(type(event), self._phase)
        match event:
            case events.StateProgress():
                self._download = event
            case events.StateReady() | events.RoundCommitted() | events.RoundRejected():
                self._round = event.round
                self._download = None
            case events.CaughtUp():
                self._download = None
            case events.TrainingProgress():
                self._loss, self._tokens_per_s = event.loss, event.tokens_per_s
            case events.UpdateReady():
                self._loss = event.loss
            case events.BytesOut():
                self._bytes_out, self._peers = sum(event.by_kind.values()), event.peers
                self._relayed = event.by_kind.get("relayed", 0)
            case events.FrameRefused():
                self._refused += 1
            case _:
                pass

    def _thinned(self, event: events.AnyEvent) -> list[tuple[str, str]]:
        """Says once when so few voters are left that one of them may not be lost."""
        if not isinstance(event, events.RoundCommitted) or event.voters == self._voters:
            return []
        self._voters = event.voters
        if not event.is_thin:
            return []
        text = f"{event.voters} voter(s) are left, and there is one without which there is no quorum until others join"
        return [(text, "yellow")]

    def _tenths(self, event: events.AnyEvent) -> list[tuple[str, str]]:
        """A line for each tenth of a download, where there is no live line to show it."""
        if not isinstance(event, events.StateProgress) or self._console.is_terminal:
            return []
        tenth = 10 * event.pieces // event.pieces_total
        if tenth == self._tenth_told:
            return []
        self._tenth_told = tenth
        return [(_download(event), "dim")]

    def _line(self) -> Text:
        if self._download is not None:
            return Text(_download(self._download), style="bold", no_wrap=True, overflow="ellipsis")
        return Text(
            f"round {self._round + 1} · {self._phase} · {self._peers} peers · loss {_figure(self._loss)} · "
            f"{self._tokens_per_s:,.0f} tokens/s · {self._bytes_out / 1e6:.2f} MB out"
            + (f" ({self._relayed / 1e6:.2f} MB relayed)" if self._relayed else "")
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
        case events.Reachable():
            return [_reachability(event)]
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
                + {"single": ", single updates crossed borders", "few": ", sums of two members crossed borders"}.get(
                    event.crossed, ""
                )
            )
            return [(text, "")]
        case events.RoundRejected():
            text = (
                f"round {event.round} rejected: of the members' voices {event.rejecting:.3g} found the new base worse, "
                f"{event.accepting:.3g} did not, {event.silent} said nothing; the base stays {event.state_digest[:16]}"
            )
            return [(text, "yellow")]
        case events.QuorumMissing():
            text = (
                f"round {event.round}: {event.present:.3g} of {event.electors} voices are here (members count, not "
                f"peers), more than {event.needed:g} are needed; rounds pause until enough of these are back: "
                + ", ".join(event.missing)
            )
            return [(text, "yellow")]
        case events.FirstCounted():
            return [(_startup(event), "")]
        case events.IslandBegan():
            return _island(event)
        case events.IslandEnded():
            how = f"; this peer trained on {event.updates} times meanwhile" if event.updates else ""
            return [(f"no longer cut off, at round {event.round}{how}", "")]
        case events.Restarted():
            part = "this peer votes" if event.is_elector else "this peer does not vote until it was in a round"
            text = (
                f"the founders restarted the run (term {event.term}) after round {event.round}: {event.voters} voters, "
                f"{part}"
            )
            return [(text, "bold")]
        case events.RestartRefused():
            return [(f"the founders' restart of term {event.term} cannot be followed here: {event.reason}", "red")]
        case events.DocumentTaken():
            return [(f"{event.kind}: {event.told}", "")]
        case events.DocumentRefused():
            return [(f"a governance document is refused ({event.code}): {event.reason}", "yellow")]
        case events.MembersEquivocated():
            signers = ", ".join(event.signers) or "members whose first signatures are not at hand"
            return [(f"{event.reason}; {signers} signed both", "bold red")]
        case events.RulesInForce():
            listed = f"{event.revocations} revocations" if event.revocations else "nothing revoked"
            return [(f"from round {event.round} on: charter of epoch {event.epoch}, {listed}", "bold")]
        case events.ChainSwitched():
            text = (
                f"went over to {event.reason}: rounds {event.fork_round + 1} to {event.from_round} of this side are "
                f"lost ({event.rounds_lost} rounds, weight {event.weight_lost} against {event.weight_won}); now at "
                f"round {event.to_round}"
            )
            return [(text, "yellow")]
        case events.ChainsApart():
            return [(event.reason, "red")]
        case events.PrivacySpent():
            text = (
                f"round {event.round}: epsilon {event.epsilon:.3g} of {event.budget:g} spent for every {event.unit} "
                f"(delta {event.delta:g}, {event.steps:,} steps)"
            )
            return [(text, "dim")]
        case events.PrivacyBudgetSpent():
            text = (
                f"the privacy budget is spent (epsilon {event.epsilon:.4g} of {event.budget:g}): from round "
                f"{event.round} on this peer trains no more and receives what the others make"
            )
            return [(text, "bold yellow")]
        case events.UpdateDenied(code="privacy_budget_spent"):
            return []  # said once, when it was
        case events.UpdateDenied():
            return [(f"the gate kept this round's update here: {event.reason}", "yellow")]
        case events.UpdateLate():
            fate = "go into the next round" if event.kept else "are dropped"
            return [
                (
                    f"round {event.round}: an update of {event.tokens:,} tokens is late ({event.reason}): they {fate}",
                    "yellow",
                )
            ]
        case events.TrainerSetUp():
            steps = f"batches of {event.batch} as {-(-event.batch // event.micro_batch)} x {event.micro_batch}"
            memory = f"{event.name}, {event.memory_bytes / 2**30:.1f} GiB"
            return [(f"trains on {event.device} ({memory}) in {event.precision}, {steps}: {event.reason}", "")]
        case events.PeerLost():
            return [(f"round {event.round}: lost …{event.peer[-8:]} as {event.role}: {event.reason}", "dim")]
        case events.RoundAborted():
            return [(f"round {event.round}, attempt {event.attempt}: {event.reason}", "dim")]
        case events.CaughtUp():
            return [(f"caught up from round {event.from_round} to {event.to_round}", "")]
        case events.ClockWrong():
            return [(_clock(event), "yellow")]
        case events.CheckpointFailed():
            kept = f"that of round {event.newest} stays"
            return [(f"the checkpoint of round {event.round} was not saved, {kept}: {event.reason}", "yellow")]
        case events.LedgerForked():
            text = f"the ledger of …{event.peer[-8:]} is not the one it signed ({event.reason}): both heads are kept"
            return [(text, "bold red")]
        case events.FrameRefused():
            return [(f"refused a frame of …{event.peer[-8:]}: {event.reason}", "yellow")]
        case events.Note():
            return [(event.text, "dim")]
        case events.NodeStopped():
            return [(f"saved {event.saved}", "")]
        case _:
            return []


def _download(event: events.StateProgress) -> str:
    done_mb, total_mb = event.bytes_total * event.pieces / event.pieces_total / 1e6, event.bytes_total / 1e6
    return (
        f"downloading the Shared Base of round {event.round}: {done_mb:,.1f} of {total_mb:,.1f} MB, "
        f"{event.bytes_per_s / 1e6:.1f} MB/s from {event.donors} peers"
    )


def _island(event: events.IslandBegan) -> list[tuple[str, str]]:
    """Who is missing, what goes on meanwhile, and what to do if they never come back."""
    work = "it trains on locally until then" if event.trains else "it waits until then"
    return [
        (
            f"cut off: electors with {event.present:.3g} voices answer (members count, not peers) and more than "
            f"{event.needed:g} are needed, so nothing is committed here; "
            f"{work}. Missing: {', '.join(event.missing)}",
            "yellow",
        ),
        (
            "If they are gone for good, founders run `tapestry charter restart new FILE --charter C --state FOLDER "
            "--peer ID...` with a survivor's state folder and the survivors' ids, sign it, and every survivor is "
            "started again with --restart FILE",
            "yellow",
        ),
    ]


def _introduction(event: events.NodeStarted) -> list[tuple[str, str]]:
    lines = [
        (f"peer {event.peer} of {event.member}, region {event.region}", ""),
        (f"join through this peer: {event.address}", "bold"),
    ]
    if event.admission == "open":
        lines.append(("open run: anyone may take part, passports are self-signed", "yellow"))
    elif event.admission == "mixed":
        lines.append(
            ("mixed run: anyone may take part, as one member together; members' peers have passports", "yellow")
        )
    if event.min_contributors == 1:
        lines.append(("single updates may cross borders in this run, as its charter lets them", "yellow"))
    voters = event.electors + event.witnesses
    if voters <= _VOTERS_THAT_SURVIVE_NO_DEATH:
        text = f"{voters} elector(s): a majority of them survives no death; add genesis peers or witnesses"
        lines.append((text, "yellow"))
    return lines


def _reachability(event: events.Reachable) -> tuple[str, str]:
    """How others reach this peer."""
    where, voices = f" at {event.host}", f"{event.asked} peer(s) tried"
    match event.how:
        case "direct":
            return (f"reachable: direct{where} ({voices})", "")
        case "direct, without lanes":
            slow = "parts come over libp2p, which is slower"
            text = f"reachable: direct{where}, but not at the lanes' port ({voices}): {slow}"
            return (text, "yellow")
        case "behind NAT":
            through = ", ".join(f"…{relay[-8:]}" for relay in event.relays)
            relays = f"through relay {through}" if through else "no relay yet"
            return (f"reachable: behind NAT{where}, dials only, {relays} ({voices})", "yellow")
        case _:
            return ("reachable: unknown, there is nobody to ask yet", "dim")


def _startup(event: events.FirstCounted) -> str:
    """Where the time to the first counted contribution went, part after part."""
    trainer = f", the trainer's beside it {event.trainer_imports_s:.1f}" if event.trainer_imports_s else ""
    return (
        f"first contribution counted in round {event.round}, {event.seconds:.1f} s after the start: imports "
        f"{event.imports_s:.1f}{trainer}; daemon {event.daemon_s:.1f}, charter {event.charter_s:.1f}, DHT "
        f"{event.directory_s:.1f}, state {event.state_s:.1f}, first inner steps {event.steps_s:.1f}, round "
        f"{event.round_s:.1f}"
    )


def _clock(event: events.ClockWrong) -> str:
    side = "ahead of" if event.ahead_s > 0 else "behind"
    whose = f"the median of {event.peers} peers'" if event.peers > 1 else "the one peer's that was asked"
    return (
        f"this machine's clock is {abs(event.ahead_s) / 60:.1f} minutes {side} {whose}: set it (with NTP: "
        "`timedatectl set-ntp true`); until then peers may not find each other, and passports look expired or not yet "
        "valid"
    )


def _figure(value: float) -> str:
    """A loss, or a dash for one that is not known."""
    return f"{value:.3f}" if isfinite(value) else "-"
