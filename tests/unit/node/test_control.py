"""The node's half of the control socket: lines, a budget of bytes, and no descriptors."""

import array
import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from swarm.errors import ModelError
from swarm.isolation import levels
from swarm.node.control import BUDGET_BYTES, BUDGET_BYTES_PER_BASE, BUDGET_BYTES_PER_S, Budget, ControlSocket
from swarm.node.link import NodeEnd
from swarm.node.messages import MAX_REPORT_BYTES, Begin, Confined, Progress, TrainerHello
from swarm.node.shared import SharedVectors
from swarm.node.spawn import make_shared_fd

LIMIT_S = 20.0


class ManualClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def play(scene: Callable[[ControlSocket, socket.socket, ManualClock], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        clock = ManualClock()
        node, trainer = socket.socketpair()
        control = ControlSocket(node, MAX_REPORT_BYTES, clock)
        async with asyncio.timeout(LIMIT_S):
            await scene(control, trainer, clock)
        control.close()
        trainer.close()

    asyncio.run(run())


def test_lines_come_one_by_one_and_end_with_the_trainer() -> None:
    async def scene(control: ControlSocket, trainer: socket.socket, clock: ManualClock) -> None:
        trainer.sendall(b"one\ntw")
        assert await control.readline() == b"one\n"
        trainer.sendall(b"o\n")
        assert await control.readline() == b"two\n"
        trainer.close()
        assert await control.readline() == b""
        control.write(b"to nobody\n")

    play(scene)


def test_what_the_trainer_has_not_read_yet_waits() -> None:
    async def scene(control: ControlSocket, trainer: socket.socket, clock: ManualClock) -> None:
        text = os.urandom(2_000_000)
        control.write(text[:1000])
        control.write(text[1000:])
        trainer.setblocking(False)
        loop, got = asyncio.get_running_loop(), bytearray()
        while len(got) < len(text):
            got += await loop.sock_recv(trainer, 65_536)
        assert bytes(got) == text

    play(scene)


def test_a_descriptor_is_closed_unread_and_ends_the_connection() -> None:
    async def scene(control: ControlSocket, trainer: socket.socket, clock: ManualClock) -> None:
        read_end, write_end = os.pipe()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write_end, write_end]))]
        trainer.sendmsg([b'{"t":"Yielded","round":1}\n'], rights)
        os.close(write_end)
        with pytest.raises(ModelError, match="2 file descriptor"):
            await control.readline()
        assert os.read(read_end, 1) == b"", "nobody holds the other end any more"
        os.close(read_end)

    play(scene)


def test_more_than_the_reports_need_is_refused() -> None:
    async def scene(control: ControlSocket, trainer: socket.socket, clock: ManualClock) -> None:
        line = b"x" * 1023 + b"\n"
        for _ in range(BUDGET_BYTES // len(line)):
            trainer.sendall(line)
            assert await control.readline() == line
        control.grant()
        trainer.sendall(line)
        assert await control.readline() == line
        trainer.sendall(b"!\n")
        with pytest.raises(ModelError, match="more to its node than its reports need"):
            await control.readline()

    play(scene)


def test_a_message_longer_than_any_is_refused() -> None:
    async def scene(control: ControlSocket, trainer: socket.socket, clock: ManualClock) -> None:
        trainer.sendall(b"x" * (2 * MAX_REPORT_BYTES + 1))
        with pytest.raises(ModelError, match="longer than any"):
            await control.readline()

    play(scene)


def test_the_budget_fills_with_time_and_rounds_and_never_beyond_its_size() -> None:
    clock = ManualClock()
    budget = Budget(clock)
    assert budget.spend(BUDGET_BYTES) and not budget.spend(1)
    clock.now_s += 2.0
    assert not budget.spend(2 * BUDGET_BYTES_PER_S + 1) and budget.spend(2 * BUDGET_BYTES_PER_S)
    budget.grant(BUDGET_BYTES_PER_BASE)
    assert budget.spend(BUDGET_BYTES_PER_BASE) and not budget.spend(1)
    clock.now_s += 1e9
    assert not budget.spend(BUDGET_BYTES + 1) and budget.spend(BUDGET_BYTES)


def listen(*lines: bytes) -> tuple[list[Any], str]:
    """What a node hears of these lines, and how it ends."""
    heard: list[Any] = []

    async def run() -> None:
        node, trainer = socket.socketpair()
        shared = SharedVectors(make_shared_fd(), 4)
        end = await NodeEnd.open(node.detach(), shared, "the charter", "digest", heard.append)
        assert msgspec.json.decode(trainer.recv(100), type=Begin).charter == "the charter"
        trainer.sendall(b"".join(line + b"\n" for line in lines))
        trainer.close()
        async with asyncio.timeout(LIMIT_S):
            await end.listen()

    try:
        asyncio.run(run())
    except ModelError as error:
        return heard, str(error)
    return heard, ""


def test_only_the_first_message_says_how_the_trainer_is_confined() -> None:
    confined = Confined(levels.CONFINED, "all of it")
    first, hello = msgspec.json.encode(confined), msgspec.json.encode(TrainerHello("digest"))
    assert listen(first, hello) == ([confined, TrainerHello("digest")], "")
    assert "only what started it can" in listen(first, first)[1]
    assert "only what started it can" in listen(hello, first)[1]


@pytest.mark.parametrize(
    "line", [b"", b"{", b'{"t":"Text","data":"x"}', b'{"t":"Yielded","round":1,"data":"x"}', b"\xff"]
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    assert listen(line)[1] == "the trainer sent its node something that is no message"


def test_figures_that_are_only_shown_lose_their_last_digits() -> None:
    report = Progress(1, 2, np.pi, 300, 12345.678)
    (heard,), _ = listen(msgspec.json.encode(report))
    assert (heard.loss, heard.tokens_per_s, heard.tokens) == (3.142, 12350.0, 300)


def test_a_process_that_no_peer_started_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from swarm.errors import UsageError
    from swarm.node.given import GivenNode

    monkeypatch.setenv("TAPESTRY_CONTROL_FD", "no number")
    with pytest.raises(UsageError, match="unset them"):
        GivenNode()
