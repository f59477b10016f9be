"""How a peer learns how it is reached: from answers alone, kept while nobody answers, told when it changes."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from multiaddr import Multiaddr

from swarm import events
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net.dialback import DialledBack
from swarm.net.memory import run_virtual
from swarm.net.transport import StreamLostError
from swarm.net.wire import MAX_RELAYS
from swarm.node.reach import AGAIN_AFTER_S, AGAIN_SOON_S, Reach, Reaching

ME, *OTHERS = (Identity.generate().peer_id for _ in range(7))
OWN = f"/ip4/192.168.1.2/tcp/31337/p2p/{ME}"
OUTSIDE = "198.51.100.7"
YES, NO, SLOW = (DialledBack(OUTSIDE, *found) for found in ((True, True), (False, False), (True, False)))


class World:
    """Who would answer what; whoever is not listed is silent."""

    peer_id = ME

    def __init__(self) -> None:
        self.answers: dict[PeerId, DialledBack] = {}
        self.asked: list[PeerId] = []
        self.seen: list[events.AnyEvent] = []
        self.reaching = Reaching(self, self.seen.append)

    async def addresses(self) -> tuple[Multiaddr, ...]:
        return (Multiaddr(OWN),)

    async def ask_dial_back(self, peer: PeerId) -> DialledBack:
        self.asked.append(peer)
        if peer not in self.answers:
            raise StreamLostError("silent")
        return self.answers[peer]

    def says(self, answer: DialledBack) -> None:
        self.answers = dict.fromkeys(OTHERS, answer)

    @property
    def told(self) -> list[str]:
        return [event.how for event in self.seen if isinstance(event, events.Reachable)]


def test_a_first_peer_with_nobody_to_ask_counts_as_dialable_until_somebody_answers() -> None:
    async def scenario() -> None:
        world = World()
        assert await world.reaching.ask([ME]) == Reach(True, (OWN,), ())
        assert world.asked == [] and world.told == ["unknown"]
        world.says(NO)
        assert not (await world.reaching.ask(OTHERS[:1])).is_dialable
        assert world.told == ["unknown", "behind NAT"]

    run_virtual(scenario())


def test_who_cannot_be_dialled_announces_relays_and_no_address() -> None:
    async def scenario() -> None:
        world = World()
        world.says(NO)
        reach = await world.reaching.ask(OTHERS)
        assert reach == Reach(False, (), tuple(OTHERS[:MAX_RELAYS]), OUTSIDE)

    run_virtual(scenario())


def test_a_forwarded_port_is_announced_where_others_see_it() -> None:
    async def scenario() -> None:
        world = World()
        world.says(SLOW)
        reach = await world.reaching.ask(OTHERS[:2])
        assert reach == Reach(True, (OWN.replace("192.168.1.2", OUTSIDE), OWN), (), OUTSIDE)
        assert world.told == ["direct, without lanes"]

    run_virtual(scenario())


def test_silence_changes_nothing_and_a_change_is_told_once() -> None:
    async def scenario() -> None:
        world = World()
        changes: list[Reach] = []
        world.says(NO)
        await world.reaching.ask(OTHERS[:1])
        async with _Running(world.reaching.keep(lambda: OTHERS, changes.append)):
            world.answers = {}
            await asyncio.sleep(AGAIN_AFTER_S + 1)
            assert changes == [] and world.reaching.reach.relays == (OTHERS[0],)
            world.says(YES)  # the router forwards the port now; asked soon, since nobody has answered
            await asyncio.sleep(AGAIN_SOON_S + 1)
            assert [reach.is_dialable for reach in changes] == [True] and changes[0].relays == ()
            await asyncio.sleep(5 * AGAIN_AFTER_S)
            assert len(changes) == 1 and world.told == ["behind NAT", "direct"]

    run_virtual(scenario())


def test_a_relay_whose_parked_stream_was_lost_is_replaced_soon_and_doubts_do_not_pile_up() -> None:
    async def scenario() -> None:
        world = World()
        changes: list[Reach] = []
        world.says(NO)
        await world.reaching.ask(OTHERS[:1])
        async with _Running(world.reaching.keep(lambda: OTHERS, changes.append)):
            await asyncio.sleep(1.0)
            del world.answers[OTHERS[0]]
            for _ in range(3):
                world.reaching.doubt()
            await asyncio.sleep(AGAIN_SOON_S + 1)
            assert len(changes) == 1 and OTHERS[0] not in changes[0].relays and changes[0].relays
            asked = len(world.asked)
            await asyncio.sleep(AGAIN_AFTER_S - 1)
            assert len(world.asked) == asked, "the next time is in a minute again"

    run_virtual(scenario())


def test_relays_that_are_all_gone_at_once_are_replaced_by_others() -> None:
    async def scenario() -> None:
        world = World()
        changes: list[Reach] = []
        world.says(NO)
        gone = await world.reaching.ask(OTHERS[:MAX_RELAYS])
        async with _Running(world.reaching.keep(lambda: OTHERS, changes.append)):
            await asyncio.sleep(1.0)
            for relay in gone.relays:
                del world.answers[relay]
            world.reaching.doubt()
            await asyncio.sleep(6 * AGAIN_SOON_S)
            assert changes and changes[0].relays and not {*changes[0].relays} & {*gone.relays}

    run_virtual(scenario())


class _Running:
    """A task for the length of a block."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._work)

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
