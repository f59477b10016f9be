"""The pipe under libp2p streams: nothing lost, nothing reordered, whatever the pieces; an end is an error, no wait."""

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
import uvloop

from swarm.net.memory import run_virtual
from swarm.net.pipe import Pipe, take_over

Scenario = Callable[[Pipe, socket.socket], Awaitable[None]]
_OPENING = b"hello\n"


async def _with_pipe(sent_early: bytes, scenario: Scenario) -> None:
    """Runs the scenario on a pipe that took over after one line, with `sent_early` already on its way."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    theirs.send(_OPENING + sent_early)
    assert await reader.readline() == _OPENING
    try:
        async with asyncio.timeout(20):
            await scenario(take_over(reader, writer), theirs)
    finally:
        writer.close()
        theirs.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("seed", range(4))
def test_every_byte_arrives_once_and_in_order(run: Callable[..., None], seed: int) -> None:
    chance = random.Random(seed)
    data = chance.randbytes(3_000_000)
    early = chance.choice([0, 10, 90_000])

    async def scenario(pipe: Pipe, theirs: socket.socket) -> None:
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(theirs, data[early:]))
        at = 0
        while at < len(data):
            count = min(chance.choice([0, 1, 4, 1_000, 65_535, 65_536, 65_537, 300_000]), len(data) - at)
            assert await pipe.read(count) == data[at : at + count]
            at += count
        await sending

    run(_with_pipe(data[:early], scenario))


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("count", [10, 200_000])
def test_a_read_that_cannot_be_completed_fails(run: Callable[..., None], count: int) -> None:
    async def scenario(pipe: Pipe, theirs: socket.socket) -> None:
        theirs.send(b"12345")
        assert await pipe.read(2) == b"12"
        reading = asyncio.create_task(pipe.read(count))
        await asyncio.sleep(0)
        theirs.close()
        with pytest.raises(ConnectionResetError):
            await reading

    run(_with_pipe(b"", scenario))


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_pipe_that_is_closed_keeps_what_was_not_read_and_no_more_memory(run: Callable[..., None]) -> None:
    async def scenario(pipe: Pipe, theirs: socket.socket) -> None:
        theirs.send(b"12345")
        await pipe.readable()
        pipe._transport.abort()
        with pytest.raises(OSError):
            while True:
                await asyncio.sleep(0)
                await pipe.write(b"more")
        await asyncio.sleep(0)
        assert len(pipe._ahead) == 5
        assert await pipe.read(2) == b"12"
        for count in (4, 100):
            with pytest.raises(OSError):
                await pipe.read(count)

    run(_with_pipe(b"", scenario))


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_writer_waits_for_a_slow_reader_and_fails_when_it_leaves(run: Callable[..., None]) -> None:
    async def scenario(pipe: Pipe, theirs: socket.socket) -> None:
        writing = asyncio.create_task(pipe.write(b"head", bytes(4_000_000)))
        await asyncio.sleep(0)
        assert not writing.done()
        assert await asyncio.get_running_loop().sock_recv(theirs, 4) == b"head"
        theirs.close()
        with pytest.raises(OSError):
            await writing
        with pytest.raises(OSError):
            await pipe.write(b"more")

    run(_with_pipe(b"", scenario))


class SlowLink:
    """A TCP transport over which bytes arrive when a test says so."""

    def __init__(self, tcp: socket.socket) -> None:
        self._tcp = tcp
        self.is_paused = False

    def get_extra_info(self, name: str) -> socket.socket | None:
        return self._tcp if name == "socket" else None

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int) -> None:
        """Nothing is written."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Bytes are handed over by hand."""


def test_a_long_read_on_a_slow_link_rests_between_readings_and_a_fast_one_does_not() -> None:
    async def main(tcp: socket.socket) -> None:
        link = SlowLink(tcp)
        pipe = Pipe(cast(asyncio.Transport, link), b"", has_ended=False)

        def arrive(count: int) -> None:
            assert not link.is_paused
            pipe.get_buffer(0)[:count] = bytes(count)
            pipe.buffer_updated(count)

        reading = asyncio.create_task(pipe.read_into(memoryview(bytearray(200_000))))
        await asyncio.sleep(0)
        arrive(1_448)
        await asyncio.sleep(0.0001)
        arrive(60_000)  # 600 MB/s
        assert not link.is_paused
        await asyncio.sleep(0.02)
        arrive(1_552)  # 3 MB/s: 32 KiB take 10 ms
        assert link.is_paused
        await asyncio.sleep(0.009)
        assert link.is_paused
        await asyncio.sleep(0.003)
        arrive(100_000)  # all that came meanwhile: the link is not slow
        assert not link.is_paused
        arrive(37_000)
        await reading

        cancelled = asyncio.create_task(pipe.read_into(memoryview(bytearray(200_000))))
        await asyncio.sleep(0)
        arrive(10)
        await asyncio.sleep(0.1)
        arrive(10)
        assert link.is_paused
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        after = asyncio.create_task(pipe.read(2))
        await asyncio.sleep(0)
        arrive(2)
        assert await after == bytes(2)

    with socket.socket() as tcp:
        run_virtual(main(tcp))
