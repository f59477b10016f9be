"""The event logs of a made-up run: two regions, three peers, some rounds; and the same as files."""

from pathlib import Path

from swarm import events
from swarm.telemetry.seen import Logged

BEGAN_AT = 1_790_000_000.0
PEERS = {"12D3KooWada": ("eu", "ada"), "12D3KooWbob": ("eu", "bo"), "12D3KooWcyn": ("asia", "cy")}
ROUNDS = 4


def story(rounds: int = ROUNDS) -> list[Logged]:
    """All three logs, in the order things happened."""
    told: list[Logged] = []

    def tell(peer: str, at: float, event: events.AnyEvent) -> None:
        told.append(Logged(peer=peer, at=BEGAN_AT + at, event=event))

    for peer, (region, member) in PEERS.items():
        tell(peer, 0.0, _started(peer, region, member))
        tell(peer, 1.0, events.TrainerReady(isolation="confined", detail=""))
    for number in range(1, rounds + 1):
        for place, (peer, (region, _)) in enumerate(PEERS.items()):
            at = 10.0 * number + place / 10
            loss = 4.0 - number / 2 + place / 4
            tell(peer, at, events.TrainingProgress(round=number, step=9, loss=loss, tokens=90, tokens_per_s=100.0))
            tell(peer, at + 1, events.UpdateReady(round=number, tokens=100 * (place + 1), loss=loss, steps=10))
            tell(peer, at + 2, events.AttemptStarted(round=number, attempt=1, leader=peer))
            tell(peer, at + 3, events.Reduced(round=number, attempt=1, chunks=2, reduce_s=0.2))
            tell(peer, at + 4, _committed(number))
            tell(peer, at + 5, _sent(number, peer, region))
    tell("12D3KooWcyn", 70.0, events.FrameRefused(peer="12D3KooWxyz", reason="nonsense"))
    return told


def spent() -> Logged:
    """What differential privacy has cost the first peer, as its log says; nothing in the story itself is private."""
    event = events.PrivacySpent(
        round=4,
        unit="sequence",
        epsilon=0.5,
        delta=1e-6,
        budget=1.0,
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        steps=4,
        accountant="rdp",
    )
    return Logged(peer="12D3KooWada", at=BEGAN_AT + 60.0, event=event)


def write_logs(folder: Path, told: list[Logged]) -> Path:
    """A folder with one state folder for each peer."""
    for seen in told:
        home = folder / seen.peer
        home.mkdir(parents=True, exist_ok=True)
        with (home / "events.jsonl").open("ab") as file:
            file.write(events.encode_line(seen.at, seen.event))
    return folder


def _started(peer: str, region: str, member: str) -> events.NodeStarted:
    return events.NodeStarted(
        peer=peer,
        run_id="ab" * 32,
        region=region,
        member=member,
        address=f"/ip4/127.0.0.1/tcp/1/p2p/{peer}",
        min_contributors=1,
        electors=3,
        witnesses=0,
        admission="member",
    )


def _committed(number: int) -> events.RoundCommitted:
    return events.RoundCommitted(
        round=number,
        attempt=1,
        peers=tuple(PEERS),
        contributors=tuple(PEERS),
        voters=3,
        state_digest=f"{number:064x}",
        seconds=0.5,
    )


def _sent(number: int, peer: str, region: str) -> events.BytesOut:
    others = [(other, at) for other, (at, _) in PEERS.items() if other != peer]
    sent_to = tuple(events.SentTo(peer=other, region=at, bytes=1000 * number) for other, at in others)
    return events.BytesOut(
        round=number,
        by_kind={"update": 1500 * number, "result": 500 * number},
        peers=3,
        sent_to=sent_to,
        inside_bytes=sum(each.bytes for each in sent_to if each.region == region),
        across_bytes=sum(each.bytes for each in sent_to if each.region != region),
    )
