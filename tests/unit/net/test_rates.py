"""Rates from the kernel's counters: with sockets that say what a test wants, and with real ones."""

import asyncio
import socket
import struct

import pytest

from swarm.net.memory import run_virtual
from swarm.net.rates import Meter


class FakeSocket:
    """Says how many bytes were acknowledged and received, as Linux does."""

    def __init__(self) -> None:
        self.acked = self.received = self.sent = 0
        self.is_open = True

    def fileno(self) -> int:
        return 3 if self.is_open else -1

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_INFO)
        info = bytearray(size)
        struct.pack_into("=QQ", info, 120, self.acked, self.received)
        struct.pack_into("=Q", info, 200, self.sent)
        return bytes(info)


def watched(meter: Meter) -> FakeSocket:
    made = FakeSocket()
    meter.watch(made)  # pyright: ignore[reportArgumentType]
    return made


async def measure(meter: Meter, flow: list[tuple[int, int]], *sockets: FakeSocket, busy: float = 0.3) -> None:
    """Lets bytes flow over all sockets, a pair (up, down) for each tenth of a second, while the meter measures.

    `busy` is which part of the time the thread works or waits for a processor.
    """
    loop = asyncio.get_running_loop()
    measuring = asyncio.create_task(meter.measure(loop.time, lambda: busy * loop.time()))
    await asyncio.sleep(0)
    for up, down in flow:
        for connection in sockets:
            connection.acked += up
            connection.received += down
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.01)
    measuring.cancel()
    await asyncio.gather(measuring, return_exceptions=True)


def test_nothing_measured_is_no_rate() -> None:
    assert Meter().rates_bps == (0, 0)


def test_the_rate_is_that_of_the_best_half_second() -> None:
    async def main() -> None:
        meter = Meter()
        connection = watched(meter)
        await measure(meter, [(1_000, 2_000)] * 5 + [(50_000, 20_000)] * 5 + [(1_000, 2_000)] * 5, connection)
        assert meter.rates_bps == pytest.approx((8 * 500_000, 8 * 200_000), rel=0.01)

    run_virtual(main())


def test_all_connections_count_together_and_what_they_carried_before_does_not() -> None:
    async def main() -> None:
        meter = Meter()
        first = FakeSocket()
        first.acked = first.received = 10**12
        meter.watch(first)  # pyright: ignore[reportArgumentType]
        await measure(meter, [(10_000, 10_000)] * 8, first, watched(meter))
        assert meter.rates_bps == pytest.approx((8 * 200_000, 8 * 200_000), rel=0.01)

    run_virtual(main())


def test_a_round_shorter_than_half_a_second_measures_nothing() -> None:
    async def main() -> None:
        meter = Meter()
        await measure(meter, [(10**6, 10**6)] * 3, watched(meter))
        assert meter.rates_bps == (0, 0)

    run_virtual(main())


def test_a_round_in_which_one_direction_was_still_is_not_counted() -> None:
    async def main() -> None:
        meter = Meter()
        await measure(meter, [(10_000, 0)] * 8, watched(meter))
        assert meter.rates_bps == (0, 0)

    run_virtual(main())


def test_the_best_of_the_last_three_rounds_counts() -> None:
    async def main() -> None:
        meter = Meter()
        connection = watched(meter)
        seen = []
        for size in (50_000, 10_000, 10_000, 10_000):
            await measure(meter, [(size, size)] * 8, connection)
            seen.append(round(meter.rates_bps[0] / 8_000_000, 2))
        assert seen == [0.5, 0.5, 0.5, 0.1]

    run_virtual(main())


@pytest.mark.parametrize(("per_tenth", "is_counted"), [(5_000_000, False), (1_250_000, True)])
def test_what_a_busy_processor_carried_is_a_rate_only_where_it_is_slow(per_tenth: int, is_counted: bool) -> None:
    async def main() -> None:
        meter = Meter()
        connection = watched(meter)
        await measure(meter, [(per_tenth, per_tenth)] * 8, connection, busy=0.9)
        assert meter.rates_bps == (pytest.approx((80 * per_tenth,) * 2, rel=0.01) if is_counted else (0, 0))
        await measure(meter, [(per_tenth, per_tenth)] * 8, connection, busy=0.5)
        assert meter.rates_bps == pytest.approx((80 * per_tenth,) * 2, rel=0.01)

    run_virtual(main())


@pytest.mark.parametrize("how", ["closed", "left"])
def test_a_connection_that_is_gone_neither_counts_nor_takes_away(how: str) -> None:
    async def main() -> None:
        meter = Meter()
        gone, there = watched(meter), watched(meter)
        gone.acked = gone.received = 10**9
        if how == "closed":
            gone.is_open = False
        else:
            meter.leave(gone)  # pyright: ignore[reportArgumentType]
        await measure(meter, [(10_000, 10_000)] * 8, there)
        assert meter.rates_bps == pytest.approx((800_000, 800_000), rel=0.01)

    run_virtual(main())


def test_bytes_of_closed_connections_are_told_once() -> None:
    meter = Meter()
    first, second = watched(meter), watched(meter)
    first.sent, second.sent = 700, 50
    meter.leave(first)  # pyright: ignore[reportArgumentType]
    assert meter.take_closed_bytes() == 700
    assert meter.take_closed_bytes() == 0
    second.sent = 80
    meter.leave(second)  # pyright: ignore[reportArgumentType]
    assert meter.take_closed_bytes() == 30  # what it had sent before the last call was in no sum of closed ones


def test_real_sockets_are_read() -> None:
    """Over loopback: what the kernel says was acknowledged is what the other end has received."""

    async def main() -> tuple[int, int]:
        took = asyncio.Event()
        megabytes = 8

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(megabytes):
                await reader.readexactly(2**20)
                writer.write(bytes(2**20))
                await writer.drain()
            writer.close()
            await writer.wait_closed()
            took.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        meter = Meter()
        meter.watch(writer.get_extra_info("socket"))
        for _ in range(megabytes):
            writer.write(bytes(2**20))
            await writer.drain()
            await reader.readexactly(2**20)
        await took.wait()
        up, down = meter._take()
        writer.close()
        await writer.wait_closed()
        assert meter._take() == (0, 0)
        server.close()
        return up, down

    up, down = asyncio.run(main())
    assert up <= 8 * 2**20 <= up + 2**20
    assert 0 <= down - 8 * 2**20 <= 1  # the kernel counts the end of a connection as a byte
