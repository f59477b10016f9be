"""Two peers behind two different NATs make a direct connection, in the lab; what routers refuse ends in time."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable

import pytest

from benchmarks.wan import lab, namespace
from benchmarks.wan.lab import Lab
from benchmarks.wan.topology import Host, Topology, host_outer
from swarm.identity.peer_id import PeerId
from swarm.net import punch
from swarm.net.lanes import Lanes
from swarm.net.punch import Punch, give_lane, open_lane
from swarm.net.transport import Stream, StreamLostError
from tests.integration.test_wan import refusal_expected_where_impossible

_RATE_BPS = 50_000_000
OPENER, ANSWERER = 0, 1
NAMES = (PeerId("opener"), PeerId("answerer"))
LIMIT_S = 0.5
WORDS = os.urandom(1_000_000)


class Arranging:
    """A stream between two threads, as a relay would carry it."""

    def __init__(self, remote: PeerId) -> None:
        self.remote = remote
        self.loop = asyncio.get_running_loop()
        self.inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.other: Arranging | None = None

    async def send(self, frame: bytes) -> None:
        assert self.other is not None
        self.other.loop.call_soon_threadsafe(self.other.inbox.put_nowait, frame)

    async def receive(self, max_bytes: int) -> bytes:
        return await self.inbox.get()

    def limit_rate(self, bytes_per_s: int | None) -> None:
        raise AssertionError("two frames need no pace")

    def close(self) -> None:
        raise AssertionError("whoever opened it closes it")


Work = Callable[[Lanes, Stream], Awaitable[None]]


def both(built: Lab, opener: Work, answerer: Work) -> None:
    """Runs each side in a thread of its own, inside its host."""
    ends: list[Arranging | None] = [None, None]
    ready = threading.Barrier(2)
    failed: list[BaseException] = []

    def side(host: int, work: Work) -> None:
        async def main() -> None:
            lanes = Lanes()
            mine = ends[host] = Arranging(NAMES[1 - host])
            ready.wait()
            mine.other = ends[1 - host]
            try:
                await work(lanes, mine)
            finally:
                await lanes.close()

        try:
            namespace.enter_path(built.namespace_of(host))
            asyncio.run(main())
        except (AssertionError, OSError, StreamLostError, TimeoutError) as error:
            failed.append(error)

    threads = [threading.Thread(target=side, args=each) for each in ((OPENER, opener), (ANSWERER, answerer))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    assert all(ends), "a side did not begin"


@pytest.mark.parametrize("silent", [True, False])
def test_a_lane_through_both_routers(silent: bool) -> None:
    host = Host(rate_bps=_RATE_BPS, nat=True, silent=silent)
    seen = [str(host_outer(index)) for index in (OPENER, ANSWERER)]

    async def opener(lanes: Lanes, arranging: Stream) -> None:
        lane = await open_lane(lanes, arranging, seen[OPENER])
        await lane.send(WORDS)
        assert await lane.receive(100) == b"thanks"
        lane.close()
        await lane.done
        again = lanes.again(NAMES[ANSWERER])
        assert again is not None, "the connection carries the next stream too"
        await again.send(WORDS)
        assert await again.receive(100) == b"thanks"
        again.close()
        await again.done

    async def answerer(lanes: Lanes, arranging: Stream) -> None:
        served: asyncio.Queue[PeerId] = asyncio.Queue()

        async def take(stream: Stream) -> None:
            assert await stream.receive(len(WORDS)) == WORDS
            await stream.send(b"thanks")
            await served.put(stream.remote)

        lanes.serve(take)
        await give_lane(lanes, arranging, seen[ANSWERER])
        assert [await served.get(), await served.get()] == [NAMES[OPENER]] * 2
        await asyncio.wait(lanes._tasks, timeout=1.0)

    topology = Topology(hosts=(host, host), round_trip_s=0.04)
    with refusal_expected_where_impossible(), lab.started(topology) as built:
        both(built, opener, answerer)


def test_an_end_that_does_not_dial_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(punch, "PUNCH_LIMIT_S", LIMIT_S)
    host = Host(rate_bps=_RATE_BPS, nat=True, silent=True)

    async def opener(lanes: Lanes, arranging: Stream) -> None:
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(StreamLostError, match="no direct connection"):
            await open_lane(lanes, arranging, str(host_outer(OPENER)))
        assert asyncio.get_running_loop().time() - began_s < 10 * LIMIT_S

    async def answerer(lanes: Lanes, arranging: Stream) -> None:
        await punch._hear(arranging)
        await punch._say(arranging, Punch(str(host_outer(ANSWERER)), 40_000, lanes.ticket_for(NAMES[OPENER], ())))

    with refusal_expected_where_impossible(), lab.started(Topology(hosts=(host, host), round_trip_s=0.01)) as built:
        both(built, opener, answerer)
