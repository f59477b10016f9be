"""Figures for metrics services: by permit, on record, no loss of data that is not open, never in a round's way."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import blake3
import msgspec
import pytest

from peers.sinks import parse_sink
from swarm import events
from swarm.errors import PolicyError, StateError, UsageError
from swarm.net.audited import PermitViolationError
from swarm.net.memory import VirtualTimeLoop
from swarm.net.web import (
    MAX_ANSWER_BYTES,
    AuditedWeb,
    HttpWeb,
    MemoryWeb,
    Post,
    WebLostError,
    WebRefusedError,
    parse_address,
)
from swarm.node.sinks.base import Author
from swarm.node.sinks.reporter import MOST_WAITING, Reporter
from swarm.node.sinks.trackio import Trackio
from swarm.node.sinks.wandb import Wandb
from swarm.sovereignty.decisions import Decision, read_decision
from swarm.sovereignty.gate import Denied, Gate, InForce
from swarm.sovereignty.labels import Label
from swarm.sovereignty.lattice import Restrictions
from swarm.sovereignty.ledger import Ledger
from swarm.sovereignty.permit import Kind, Permit
from swarm.sovereignty.privacy import Budget
from swarm.sovereignty.uses import Privacy
from swarm.telemetry.figures import Figures, Tally
from tests.ecosystem.stand_in import ENTITY, StandIn

HERE = parse_address("https://metrics.example")
AUTHOR = Author("ab" * 32, "spring", "12D3KooWpeer", "eu")
KEY = "a-key-nobody-may-see"


def gate_for(*addresses: str, label: Label = Label.OPEN, privacy: tuple[Privacy, ...] = ()) -> Gate:
    bound = Restrictions(label=label, privacy=frozenset(privacy))
    policy = InForce("ff" * 32, bound, frozenset(addresses))
    return Gate(region="eu", label=label, min_contributors=1, policy=policy)


def permit_for(*addresses: str) -> Permit:
    permit = gate_for(*addresses).check_figures(address=addresses[0])
    assert isinstance(permit, Permit)
    return permit


def round_of(number: int, loss: float | None = 2.5) -> Figures:
    return Figures(round=number, at=1_000.0 + number, seconds=0.5, peers=3, counted=2, loss=loss, tokens=640)


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


class Kept:
    """A ledger in a file, and what it says of figures."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.jsonl"
        self.ledger = Ledger(self.path, lambda: 0.0)

    def entries(self) -> list[dict]:
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [line for line in lines if line["kind"] == Kind.FIGURES]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    with made.ledger:
        yield made


# --- the gate ---------------------------------------------------------------------------------------------------------


def test_figures_go_to_no_address_that_the_policy_does_not_name() -> None:
    decided: list[Decision] = []
    policy = InForce("ff" * 32, Restrictions(label=Label.OPEN), frozenset({"https://other.example"}))
    gate = Gate(region="eu", label=Label.OPEN, min_contributors=1, policy=policy, decided=decided.append)
    denied = gate.check_figures(address=HERE.origin)
    assert isinstance(denied, Denied) and denied.code == "service_not_named" and HERE.origin in denied.reason
    allowed = gate.check_figures(address="https://other.example")
    assert isinstance(allowed, Permit)
    assert allowed.covers(Kind.FIGURES, "https://other.example") and not allowed.covers(Kind.FIGURES, HERE.origin)
    assert not any(allowed.covers(kind, "https://other.example") for kind in Kind if kind is not Kind.FIGURES)
    assert not gate.standing.covers(Kind.FIGURES, "https://other.example")
    assert [(each.verdict, each.subject) for each in decided] == [("denied", "figures"), ("permit", "figures")]
    assert all(read_decision(each.line) is not None for each in decided)


@pytest.mark.parametrize("label", list(Label))
@pytest.mark.parametrize("privacy", [(), (Privacy.DP,), (Privacy.SECAGG,)])
def test_a_loss_leaves_the_run_only_for_open_data_under_no_protection(
    label: Label, privacy: tuple[Privacy, ...]
) -> None:
    tells = gate_for(HERE.origin, label=label, privacy=privacy).may_tell_loss_outside
    assert tells == (label is Label.OPEN and not privacy)


def test_a_loss_under_a_budget_stays() -> None:
    budget = Budget(unit="sequence", epsilon=1.0, delta=1e-6, noise_multiplier=1.0, max_grad_norm=1.0)
    assert not Gate(region="eu", label=Label.OPEN, min_contributors=1, budget=budget).may_tell_loss_outside


# --- what is told -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_loss", [False, True])
def test_a_round_is_told_once_it_is_committed(with_loss: bool) -> None:
    tally = Tally()
    sent = events.BytesOut(round=6, by_kind={"update": 70, "vote": 30}, peers=3, inside_bytes=90, across_bytes=10)
    story = [
        events.TrainingProgress(round=7, step=1, loss=9.0, tokens=64, tokens_per_s=128.0),
        events.UpdateReady(round=7, tokens=640, loss=2.5, steps=10),
        sent,
    ]
    assert [tally.see(5.0, event, with_loss=with_loss) for event in story] == [None] * 3
    committed = events.RoundCommitted(
        round=7, attempt=1, peers=("a", "b", "c"), contributors=("a", "b"), voters=3, state_digest="d", seconds=0.5
    )
    told = tally.see(6.0, committed, with_loss=with_loss)
    assert told is not None
    expected = {"round": 7, "at": 6.0, "seconds": 0.5, "peers": 3, "counted": 2, "tokens": 640, "tokens_per_s": 128.0}
    expected |= {"sent_bytes": 100, "inside_bytes": 90, "across_bytes": 10} | ({"loss": 2.5} if with_loss else {})
    assert msgspec.to_builtins(told) == expected
    later = tally.see(7.0, msgspec.structs.replace(committed, round=8), with_loss=True)
    assert later is not None and later.loss is None and later.tokens == 0, "nothing is told of another round's update"


# --- on record --------------------------------------------------------------------------------------------------------


def test_what_arrives_is_what_the_ledger_has(stand_in: StandIn, kept: Kept) -> None:
    address = parse_address(stand_in.address)
    web = AuditedWeb(HttpWeb(address), kept.ledger, permit_for(address.origin))

    async def tell() -> None:
        for client in (Wandb("loom", AUTHOR, KEY), Trackio("loom", AUTHOR, KEY)):
            await client.tell(web, [round_of(1), round_of(2)])
            await client.tell(web, [round_of(3)])
            await client.end(web)

    asyncio.run(tell())
    assert len(stand_in.received) == 6
    expected = [(blake3.blake3(each.on_record).hexdigest(), len(each.on_record)) for each in stand_in.received]
    assert [(entry["digest"], entry["bytes"]) for entry in kept.entries()] == expected
    assert {(entry["peer"], entry["permit"]) for entry in kept.entries()} == {
        (address.origin, f"figures/{address.origin}")
    }
    assert KEY not in kept.path.read_text()
    assert [line["_step"] for line in stand_in.history()] == [0, 1, 2]
    assert [line["round"] for line in stand_in.history()] == [entry["step"] for entry in stand_in.logs()] == [1, 2, 3]
    assert stand_in.at("/file_stream")[0].path.startswith(f"/files/{ENTITY}/loom/")
    assert stand_in.at("/file_stream")[-1].json["complete"]
    assert stand_in.at("/api/bulk_log")[0].headers["x-trackio-write-token"] == KEY
    told = set().union(*(line.keys() for line in stand_in.history()))
    assert told == {"_step", "_timestamp", "round", "at", "seconds", "peers", "counted", "loss", "tokens"}


def test_nothing_is_posted_without_a_permit_for_the_address(kept: Kept) -> None:
    posted: list[Post] = []
    elsewhere = MemoryWeb(parse_address("https://elsewhere.example"), lambda post: posted.append(post) or b"{}")
    for permit in (permit_for(HERE.origin), gate_for().standing):
        with pytest.raises(PermitViolationError):
            asyncio.run(AuditedWeb(elsewhere, kept.ledger, permit).post(Post("/x", b"{}")))
    assert not posted and not kept.entries()


def test_nothing_is_posted_that_the_ledger_could_not_take() -> None:
    class Full(Ledger):
        def record(self, peer: str, kind: Kind, payload: bytes, permit_id: str) -> None:
            raise StateError("the disk is full")

    posted: list[Post] = []
    web = MemoryWeb(HERE, lambda post: posted.append(post) or b"{}")
    with pytest.raises(StateError):
        asyncio.run(AuditedWeb(web, Full(None, lambda: 0.0), permit_for(HERE.origin)).post(Post("/x", b"{}")))
    assert not posted


# --- the services -----------------------------------------------------------------------------------------------------


def test_a_peer_that_comes_back_goes_on_with_its_wandb_run(stand_in: StandIn) -> None:
    stand_in.lines_before = 40
    address = parse_address(stand_in.address)
    web = AuditedWeb(HttpWeb(address), Ledger(None, lambda: 0.0), permit_for(address.origin))
    for _ in range(2):
        asyncio.run(Wandb("loom", AUTHOR, KEY).tell(web, [round_of(41)]))
    assert len({each.json["variables"]["name"] for each in stand_in.at("/graphql")}) == 1
    assert stand_in.at("/file_stream")[0].json["files"]["wandb-history.jsonl"]["offset"] == 40
    assert stand_in.history()[0]["_step"] == 40


@pytest.mark.parametrize(
    ("status", "answer", "error", "words"),
    [
        (503, b"", WebLostError, "503"),
        (429, b"", WebLostError, "429"),
        (401, b"", WebRefusedError, "401"),
        (302, b"", WebRefusedError, "302"),
        (200, b"<html>", WebRefusedError, "as Weights & Biases does"),
        (200, b'{"errors": [{"message": "no such entity"}]}', WebRefusedError, "no such entity"),
        (200, b" " * (MAX_ANSWER_BYTES + 1), WebRefusedError, "more than"),
    ],
)
def test_a_service_that_does_not_take_it(
    stand_in: StandIn, status: int, answer: bytes, error: type[Exception], words: str
) -> None:
    stand_in.status, stand_in.answer = status, answer
    with pytest.raises(error, match=words):
        asyncio.run(Wandb("loom", AUTHOR, KEY).tell(HttpWeb(parse_address(stand_in.address)), [round_of(1)]))
    assert not stand_in.at("/elsewhere"), "no redirect is followed"


def test_nobody_at_the_address_is_worth_another_try() -> None:
    with pytest.raises(WebLostError):
        asyncio.run(HttpWeb(parse_address("http://127.0.0.1:9")).post(Post("/x", b"{}")))


def test_no_header_can_be_smuggled_in(stand_in: StandIn) -> None:
    web = HttpWeb(parse_address(stand_in.address))
    for post in (Post("/x", b"", {"Key": "a\r\nEvil: b"}), Post("/x HTTP/1.1\r\nEvil: b", b"")):
        with pytest.raises(WebRefusedError):
            asyncio.run(web.post(post))
    assert not stand_in.received


class Flaky:
    """A client that loses, refuses or takes what it is given, as told."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.error: Exception | None = None
        self.asked = 0
        self.ended = False

    async def tell(self, web: object, lines: list[Figures]) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        self.taken += [each.round for each in lines]

    async def end(self, web: object) -> None:
        self.ended = True


def reporting(client: Flaky, said: list[str]) -> Reporter:
    web = AuditedWeb(MemoryWeb(HERE, lambda post: b"{}"), Ledger(None, lambda: 0.0), permit_for(HERE.origin))
    return Reporter("it", client, web, said.append)


def in_virtual_time(story) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(story())


def test_a_service_that_is_away_gets_its_lines_when_it_is_back() -> None:
    client, said = Flaky(), list[str]()

    async def story() -> None:
        reporter = reporting(client, said)
        task = asyncio.create_task(reporter.run())
        client.error = WebLostError("nobody there")
        for number in range(MOST_WAITING + 5):
            reporter.tell(round_of(number))
        await asyncio.sleep(3600)
        assert 5 < client.asked < 20, "at growing intervals"
        client.error = None
        await asyncio.sleep(1200)
        task.cancel()
        await reporter.end()

    in_virtual_time(story)
    assert client.taken == list(range(5, MOST_WAITING + 5)), "the oldest made room"
    assert said == ["figures for it wait: nobody there", "it answers again"] and client.ended


def test_a_service_that_refuses_is_asked_once() -> None:
    client, said = Flaky(), list[str]()

    async def story() -> None:
        reporter = reporting(client, said)
        task = asyncio.create_task(reporter.run())
        client.error = WebRefusedError("no such key")
        for number in range(3):
            reporter.tell(round_of(number))
            await asyncio.sleep(1)
        assert not task.done(), "a refusal ends nothing but itself"
        task.cancel()
        await reporter.end()

    in_virtual_time(story)
    assert client.asked == 1 and said == ["no more figures for it: no such key"] and not client.ended


# --- what a person types ----------------------------------------------------------------------------------------------


def test_a_sink_is_a_service_a_project_and_an_address_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    service = parse_sink("wandb:loom", ["https://api.wandb.ai"])
    assert (service.kind, service.project, service.address) == ("wandb", "loom", "https://api.wandb.ai")
    monkeypatch.setenv("TRACKIO_SERVER_URL", f"https://metrics.example/t/?write_token={KEY}")
    service = parse_sink("trackio:loom", [HERE.origin])
    assert service.address == "https://metrics.example/t/" and KEY not in msgspec.json.encode(service).decode()


@pytest.mark.parametrize("text", ["wandb", "wandb:", "other:x", "wandb:a\nb", ":x", "wandb:" + "x" * 200])
def test_another_form_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with pytest.raises(UsageError):
        parse_sink(text, ["https://api.wandb.ai"])


def test_a_sink_without_address_key_or_permission_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match="TRACKIO_SERVER_URL"):
        parse_sink("trackio:loom", [])
    with pytest.raises(UsageError, match="WANDB_API_KEY"):
        parse_sink("wandb:loom", ["https://api.wandb.ai"])
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with pytest.raises(PolicyError, match="figures_to") as refusal:
        parse_sink("wandb:loom", [])
    assert refusal.value.code == "service_not_named"


@pytest.mark.parametrize(
    "text",
    [
        "metrics.example",
        "http://metrics.example",
        "ftp://x",
        "https://",
        "https://me:pw@x",
        "https://x/?key=1",
        "https://[x",
    ],
)
def test_an_address_is_encrypted_unless_it_is_this_machine(text: str) -> None:
    with pytest.raises(UsageError):
        parse_address(text)
    assert parse_address("http://[::1]:8080/at/").origin == "http://[::1]:8080"
    assert parse_address("https://x:8443/at/").prefix == "/at"
