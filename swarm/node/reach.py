"""How others reach this peer: found out by asking them to dial it back, at the start and again while it runs.

A peer that cannot be dialled takes part by dialling out. It owns nothing and leads nothing; a few of those it asked
serve it as relays, for whoever else cannot be dialled either.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import NoReturn, Protocol

from multiaddr import Multiaddr

from swarm import events
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.addresses import host_of
from swarm.net.dialback import DialledBack, Verdict, verdict
from swarm.net.transport import StreamLostError
from swarm.state.electorate import few_of

ASKED_AT_ONCE = 4
AGAIN_AFTER_S = 60.0
AGAIN_SOON_S = 5.0
"""While nobody has answered yet, or a relay is gone."""


class Askable(Protocol):
    """The part of a transport this needs."""

    @property
    def peer_id(self) -> PeerId: ...

    async def addresses(self) -> tuple[Multiaddr, ...]: ...

    async def ask_dial_back(self, peer: PeerId) -> DialledBack:
        """Raises StreamLostError."""
        ...


@dataclass(frozen=True)
class Reach:
    """What this peer announces."""

    is_dialable: bool
    addresses: tuple[str, ...]
    """Multiaddrs that others can dial; none if they cannot."""
    relays: tuple[PeerId, ...]
    """Where a stream of this peer is parked; none if it can be dialled."""
    host: str = ""
    """Where others see it; empty while that is unknown."""

    @property
    def shown_address(self) -> str:
        """The address to show people: one that other machines can use, if there is one."""
        outside = [text for text in self.addresses if "/127.0.0.1/" not in text]
        return (outside or list(self.addresses) or [""])[0]


class Reaching:
    """Asks, and says what has changed."""

    def __init__(self, transport: Askable, sink: Callable[[events.AnyEvent], None]) -> None:
        self._transport = transport
        self._sink = sink
        self._said: events.Reachable | None = None
        self._answered: list[PeerId] = []
        self._doubted = asyncio.Event()
        self.reach = Reach(True, (), ())
        """The latest; until somebody has answered, a peer counts as one that can be dialled."""

    async def ask(self, peers: Sequence[PeerId]) -> Reach:
        """Asks these peers and takes what most of them found; if none answers, what was known stays."""
        answers: dict[PeerId, DialledBack] = {}
        await asyncio.gather(*(self._ask_one(peer, answers) for peer in peers if peer != self._transport.peer_id))
        found = verdict(list(answers.values()))
        self._answered = list(answers)
        if found is None and self._said is not None:
            return self.reach
        self.reach = await self._reach(found, list(answers))
        self._say(found)
        return self.reach

    async def keep(self, askable: Callable[[], Iterable[PeerId]], changed: Callable[[Reach], None]) -> NoReturn:
        """Asks again from time to time: networks change, and so do those who serve as relays."""
        for number in count():
            await self._until_due()
            before = self.reach
            # Relays of which none answered the last time come no sooner than anybody else.
            relays = before.relays if self._answered else ()
            others = [peer for peer in dict.fromkeys(askable()) if peer not in relays]
            if await self.ask([*relays, *few_of(others, ASKED_AT_ONCE - len(relays), f"{number}")]) != before:
                changed(self.reach)
        raise AssertionError("counting has no end")

    def doubt(self) -> None:
        """A relay may be gone: asks again soon."""
        self._doubted.set()

    async def _until_due(self) -> None:
        if self._answered and (self.reach.is_dialable or self.reach.relays):
            try:
                async with asyncio.timeout(AGAIN_AFTER_S):
                    await self._doubted.wait()
            except TimeoutError:
                return
        await asyncio.sleep(AGAIN_SOON_S)
        self._doubted.clear()

    async def _ask_one(self, peer: PeerId, answers: dict[PeerId, DialledBack]) -> None:
        try:
            answers[peer] = await self._transport.ask_dial_back(peer)
        except StreamLostError:
            return  # it may be gone, or cannot say where the question came from

    async def _reach(self, found: Verdict | None, answered: Sequence[PeerId]) -> Reach:
        addresses = tuple(str(address) for address in await self._transport.addresses())
        if found is None:
            return Reach(True, addresses, ())
        if not found.is_dialable:
            return Reach(False, (), tuple(answered[: wire.MAX_RELAYS]), found.host)
        return Reach(True, _with_host(addresses, found.host), (), found.host)

    def _say(self, found: Verdict | None) -> None:
        if found is None:
            how = "unknown"
        elif found.is_dialable:
            how = "direct" if found.has_lane else "direct, without lanes"
        else:
            how = "behind NAT"
        event = events.Reachable(
            how=how,
            host="" if found is None else found.host,
            relays=self.reach.relays,
            asked=0 if found is None else found.asked,
        )
        if event != self._said:
            self._said = event
            self._sink(event)


def _with_host(addresses: tuple[str, ...], host: str) -> tuple[str, ...]:
    """The addresses with the host that others see: behind a router that forwards the port, p2pd does not know it."""
    own = next((address for address in addresses if host_of(Multiaddr(address)) is not None), None)
    if own is None or any(host_of(Multiaddr(address)) == host for address in addresses):
        return addresses
    family, rest = ("ip6" if ":" in host else "ip4"), own.split("/", 3)[3]
    return (f"/{family}/{host}/{rest}", *addresses)
