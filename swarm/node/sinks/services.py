"""The metrics services a peer was started with: opened under the gate's permits, told its rounds, closed at its end."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NoReturn
from urllib.parse import parse_qsl, urlsplit

from swarm import events
from swarm.clock import unix_s
from swarm.identity.peer_id import PeerId
from swarm.net.web import AuditedWeb, HttpWeb, parse_address
from swarm.node.config import Service
from swarm.node.sinks.base import Author, Client
from swarm.node.sinks.reporter import Reporter
from swarm.node.sinks.trackio import Trackio
from swarm.node.sinks.wandb import Wandb
from swarm.sovereignty.gate import Denied, Gate
from swarm.sovereignty.ledger import Ledger
from swarm.state.run import Run
from swarm.telemetry.figures import Tally

WANDB_KEY = "WANDB_API_KEY"
TRACKIO_ADDRESS = "TRACKIO_SERVER_URL"
_TOKEN = "write_token"


def key_of(kind: str, environment: Mapping[str, str]) -> str:
    """A service's key, where its own library finds it; empty if it is not there."""
    if kind == "wandb":
        return environment.get(WANDB_KEY, "")
    return dict(parse_qsl(urlsplit(environment.get(TRACKIO_ADDRESS, "")).query)).get(_TOKEN, "")


class Services:
    """All of one peer's. Give `see` every event."""

    def __init__(self, services: Sequence[Service], ledger: Ledger, say: Callable[[str], None]) -> None:
        self._services = services
        self._ledger = ledger
        self._say = say
        self._gate: Gate | None = None
        self._tally = Tally()
        self._reporters: list[Reporter] = []
        self._tasks: list[asyncio.Task[NoReturn]] = []

    def open(self, gate: Gate, run: Run, peer: PeerId, region: str) -> Callable[[], Awaitable[None]]:
        """Asks the gate for each, and starts those it allows; what is returned closes them."""
        self._gate = gate
        author = Author(run.id, run.charter.run.name, peer, region)
        for each in self._services:
            address = parse_address(each.address)
            permit = gate.check_figures(address=address.origin)
            if isinstance(permit, Denied):
                self._say(permit.reason)
                continue
            web = AuditedWeb(HttpWeb(address), self._ledger, permit)
            reporter = Reporter(f"{each.kind} at {address.origin}", client_of(each, author), web, self._say)
            self._reporters.append(reporter)
            self._tasks.append(asyncio.create_task(reporter.run()))
        return self._close

    @property
    def tasks(self) -> tuple[asyncio.Task[NoReturn], ...]:
        """That end by themselves only with an error."""
        return tuple(self._tasks)

    def see(self, event: events.AnyEvent) -> None:
        if self._gate is None or not self._reporters:
            return
        figures = self._tally.see(unix_s(), event, with_loss=self._gate.may_tell_loss_outside)
        if figures is not None:
            for reporter in self._reporters:
                reporter.tell(figures)

    async def _close(self) -> None:
        """Sends what waits, for a short while."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(reporter.end() for reporter in self._reporters))


def client_of(service: Service, author: Author) -> Client:
    """The client that speaks to a service."""
    key = key_of(service.kind, os.environ)
    return Wandb(service.project, author, key) if service.kind == "wandb" else Trackio(service.project, author, key)
