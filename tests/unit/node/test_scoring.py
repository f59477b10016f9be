"""A trainer that is asked to score a base in the middle of something: it says nothing false, and nothing is lost."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace

import msgspec
import numpy as np

from swarm.node.link import NodeEnd
from swarm.node.messages import Base, Begin, Finish, Message, Score, Scored, TrainBeside, UpdateMade
from swarm.node.shared import SharedVectors
from swarm.node.spawn import make_shared_fd
from swarm.state.head import Head
from swarm.state.run import Run
from tests.unit.state.samples import small_charter, zero_head

HEAD = zero_head(Run(small_charter()))
CANDIDATE_N = np.full_like(HEAD.base_N, 3.0)
Told = Begin | Base | Score | Finish | TrainBeside


class Trainer:
    """The other end of a node's link: says what a test has it say."""

    def __init__(self, control: socket.socket, end: NodeEnd, shared: SharedVectors) -> None:
        self.control, self.end, self.shared = control, end, shared
        self._lines: list[bytes] = []

    def say(self, message: Message) -> None:
        self.control.sendall(msgspec.json.encode(message) + b"\n")

    async def hears(self) -> Told:
        if not self._lines:
            self.control.setblocking(False)
            data = await asyncio.get_running_loop().sock_recv(self.control, 65536)
            self._lines = data.splitlines()
        return msgspec.json.decode(self._lines.pop(0), type=Told)


def play(scene: Callable[[Trainer], Awaitable[None]]) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        shared = SharedVectors(make_shared_fd(), HEAD.base_N.size)
        end = await NodeEnd.open(ours.detach(), shared, "charter", "ab", lambda _: None)
        trainer = Trainer(theirs, end, shared)
        listening = asyncio.create_task(end.listen())
        async with asyncio.timeout(60):
            assert isinstance(await trainer.hears(), Begin)
            await scene(trainer)
        theirs.close()
        await listening

    asyncio.run(main())


def asks(trainer: Trainer) -> "asyncio.Task[float | None]":
    return asyncio.create_task(trainer.end.score(CANDIDATE_N, HEAD.base_N))


def test_a_trainer_at_work_hands_over_its_steps_and_scores_then() -> None:
    async def scene(trainer: Trainer) -> None:
        update = trainer.end.begin(HEAD)
        assert isinstance(await trainer.hears(), Base)
        scoring = asks(trainer)
        assert isinstance(await trainer.hears(), Finish)
        assert np.array_equal(trainer.shared.base_N, HEAD.base_N), "the trainer still reads it"
        trainer.say(UpdateMade(1, 7, None, 2))
        assert await trainer.hears() == Score(1)
        assert (await update).tokens == 7
        assert np.array_equal(trainer.shared.base_N, CANDIDATE_N)
        trainer.say(Scored(1, 0.5))
        assert await scoring == 0.5
        assert np.array_equal(trainer.shared.base_N, HEAD.base_N)

    play(scene)


def test_a_trainer_at_work_beside_an_update_scores_between_its_steps() -> None:
    """To hand them over would be to write over the update."""

    async def scene(trainer: Trainer) -> None:
        offered = trainer.end.begin(HEAD)
        await trainer.hears()
        trainer.say(UpdateMade(1, 7, None, 2))
        await offered
        beside = trainer.end.train_beside()
        assert await trainer.hears() == TrainBeside(1)
        scoring = asks(trainer)
        assert await trainer.hears() == Score(1)
        trainer.say(Scored(1, 0.5))
        assert await scoring == 0.5
        assert np.array_equal(trainer.shared.base_N, HEAD.base_N)
        trainer.end.finish()
        assert await trainer.hears() == Finish(1)
        trainer.say(UpdateMade(1, 9, None, 3))
        assert (await beside).tokens == 9

    play(scene)


def test_a_base_that_is_given_meanwhile_waits_until_the_score_is_there() -> None:
    async def scene(trainer: Trainer) -> None:
        scoring = asks(trainer)
        assert await trainer.hears() == Score(1)
        following: Head = replace(HEAD, base_N=HEAD.base_N + 1)
        trainer.end.begin(following)
        assert np.array_equal(trainer.shared.base_N, CANDIDATE_N), "what it scores is not replaced under its hands"
        trainer.say(Scored(1, 0.25))
        assert await scoring == 0.25
        assert isinstance(await trainer.hears(), Base)
        assert np.array_equal(trainer.shared.base_N, following.base_N)

    play(scene)


def test_an_answer_that_nobody_waits_for_any_more_is_no_later_ones() -> None:
    async def scene(trainer: Trainer) -> None:
        first = asks(trainer)
        assert await trainer.hears() == Score(1)
        first.cancel()
        await asyncio.wait([first])
        assert np.array_equal(trainer.shared.base_N, HEAD.base_N)
        second = asks(trainer)
        assert await trainer.hears() == Score(2)
        trainer.say(Scored(1, 9.0))
        trainer.say(Scored(2, 0.75))
        assert await second == 0.75

    play(scene)
