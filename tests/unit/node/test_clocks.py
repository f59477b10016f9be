"""A clock that is wrong is said by whoever has it, once, and by nobody else; no single peer can make it look wrong."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.live import sentences
from swarm import events
from swarm.net import wire
from swarm.net.audited import AuditedTransport
from swarm.net.calls import Caller
from swarm.net.memory import Link, MemoryNetwork, run_virtual
from swarm.net.server import Server
from swarm.node.clocks import CHECK_EVERY_S, MAX_ERROR_S, ClockCheck, clock_error_s
from swarm.sovereignty.gate import Gate
from swarm.sovereignty.labels import Label
from swarm.sovereignty.ledger import Ledger
from tests.simulation import CREATED_S, make_charter, peer_identity

CHARTER = make_charter(3)
MINUTES_5 = 300.0
FAR = Link(min_latency_s=0.4, max_latency_s=0.5)


@pytest.mark.parametrize(
    ("ahead_s", "error_s"),
    [
        ([0.0], 0.0),
        ([MAX_ERROR_S], 0.0),
        ([40.0], 40.0),
        ([-40.0], -40.0),
        ([0.0, 300.0], 0.0),
        ([-300.0, 300.0], 0.0),
        ([200.0, 300.0], 200.0),
        ([-200.0, -300.0], -200.0),
        ([0.0, 1.0, 86_400.0], 0.0),
        ([-299.0, -300.0, 86_400.0], -299.0),
    ],
)
def test_the_median_decides(ahead_s: list[float], error_s: float) -> None:
    assert clock_error_s(ahead_s) == error_s


@given(st.lists(st.floats(-1e9, 1e9), min_size=1), st.lists(st.floats(-MAX_ERROR_S, MAX_ERROR_S)))
def test_liars_who_are_no_more_than_the_honest_change_nothing(lies: list[float], honest: list[float]) -> None:
    assert clock_error_s([*lies, *honest, *[0.0] * max(0, len(lies) - len(honest))]) == 0.0


class World:
    """Some peers that answer what time it has, and one that asks; all on one in-memory network."""

    def __init__(self, ahead_s: Sequence[float]) -> None:
        self._network = MemoryNetwork(0, FAR)
        self.mine_s = 0.0
        """How far the asking peer's clock is ahead of the right time."""
        self.others = [peer_identity(number).peer_id for number in range(1, len(ahead_s) + 1)]
        self.theirs_s = dict(zip(self.others, ahead_s, strict=True))
        self.said: list[events.AnyEvent] = []
        self.check = ClockCheck(lambda: self._now_s() + self.mine_s, self.said.append)

    def _now_s(self) -> float:
        return CREATED_S + asyncio.get_running_loop().time()

    async def caller(self) -> Caller:
        for peer in self.others:
            transport = self._audited(peer)
            server = Server(
                transport=transport,
                charter=CHARTER,
                run_id="run",
                charter_bytes=b"",
                dispatch=lambda stream, request, passport: asyncio.sleep(0),
                sink=lambda event: None,
                wall_clock=lambda peer=peer: self._now_s() + self.theirs_s[peer],
            )
            await transport.serve(server.handle)
        return Caller(self._audited(peer_identity(0).peer_id), wire.Hello("", b""))

    def _audited(self, peer: str) -> AuditedTransport:
        gate = Gate(region="", label=Label.PRIVATE, min_contributors=1)
        return AuditedTransport(self._network.transport(peer), Ledger(None, lambda: 0.0), gate.standing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mine_s", "theirs_s", "wrong_s"),
    [
        pytest.param(0.0, [0.0, 0.0, 0.0], None, id="all right"),
        pytest.param(5.0, [-5.0, 3.0, 0.0], None, id="a few seconds"),
        pytest.param(MINUTES_5, [0.0, 0.0, 0.0], MINUTES_5, id="mine is ahead"),
        pytest.param(-MINUTES_5, [0.0, 1.0, 0.0], -MINUTES_5, id="mine is behind"),
        pytest.param(0.0, [0.0, -MINUTES_5, 0.0], None, id="another's is wrong: that one is told, not I"),
        pytest.param(0.0, [MINUTES_5], -MINUTES_5, id="one of two"),
    ],
)
def test_whoever_has_the_wrong_clock_says_so(mine_s: float, theirs_s: list[float], wrong_s: float | None) -> None:
    async def main() -> World:
        world = World(theirs_s)
        world.mine_s = mine_s
        caller = await world.caller()
        await world.check.check(caller, [*world.others, peer_identity(40).peer_id])  # one cannot be reached
        return world

    said = run_virtual(main()).said
    if wrong_s is None:
        assert said == []
        return
    (event,) = said
    assert isinstance(event, events.ClockWrong)
    assert event.ahead_s == pytest.approx(wrong_s, abs=2.0) and event.peers == len(theirs_s)
    ((text, _),) = sentences(event)
    assert "5.0 minutes " + ("ahead of" if wrong_s > 0 else "behind") in text and "timedatectl" in text


def test_it_is_said_once_until_it_changes() -> None:
    async def main() -> World:
        world = World([0.0, 0.0, 0.0])
        caller = await world.caller()
        checking = asyncio.create_task(world.check.keep_checking(caller, lambda: world.others))
        for mine_s in (MINUTES_5, MINUTES_5, 2 * MINUTES_5, 0.0, 0.0):
            world.mine_s = mine_s
            await asyncio.sleep(CHECK_EVERY_S)
        checking.cancel()
        await asyncio.gather(checking, return_exceptions=True)
        return world

    first, second, third = run_virtual(main()).said
    assert isinstance(first, events.ClockWrong) and first.ahead_s == pytest.approx(MINUTES_5, abs=2.0)
    assert isinstance(second, events.ClockWrong) and second.ahead_s == pytest.approx(2 * MINUTES_5, abs=2.0)
    assert isinstance(third, events.Note) and "agrees" in third.text
