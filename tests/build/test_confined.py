"""The parent of a confined worker: hears it to the end, stops it cleanly, and says why it failed."""

import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from peers.build import confined
from peers.build.confined import BuildError, follow, run_confined, work_folder
from peers.build.jobs import STOP, Confined, Doing, Done, FromWorker, Score, Scoring, Step, Stopped
from swarm.errors import StateError
from tests.build.records import GOOD

WALLS, TRAINING, LOADING = Confined("confined", "all of it"), Doing(what="training"), Doing(what="loading")
DONE, STOPPED = Done(evaluation=GOOD), Stopped(step=7)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def say(theirs: socket.socket, *messages: FromWorker) -> None:
    theirs.sendall(b"".join(msgspec.json.encode(message) + b"\n" for message in messages))


class Presses:
    """Ctrl+C while a message of this kind is shown."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def __call__(self, message: FromWorker) -> None:
        if isinstance(message, self._kind):
            raise KeyboardInterrupt


def test_a_worker_is_heard_to_its_end(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    said = (WALLS, LOADING, TRAINING, Step(step=1, steps=2), Step(step=2, steps=2, loss=1.0), DONE)
    say(theirs, *said)
    theirs.close()
    seen: list[FromWorker] = []
    assert follow(ours, seen.append) == [WALLS, DONE] and seen == list(said)


def test_a_worker_that_trains_is_asked_to_stop_and_heard(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    say(theirs, WALLS, TRAINING, Step(step=7, steps=9), STOPPED)
    theirs.shutdown(socket.SHUT_WR)
    assert follow(ours, Presses(Step)) == [WALLS, STOPPED]
    assert theirs.recv(100) == STOP


def test_a_worker_that_ends_without_having_read_is_heard_all_the_same(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    say(theirs, WALLS, TRAINING, STOPPED)
    ours.sendall(STOP)
    theirs.close()
    assert follow(ours, lambda message: None) == [WALLS, STOPPED]


def test_what_cannot_be_saved_is_ended_at_once(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = ends
    say(theirs, WALLS, LOADING)
    with pytest.raises(KeyboardInterrupt):
        follow(ours, Presses(Doing))
    say(theirs, TRAINING, Step(step=1, steps=9), Step(step=2, steps=9))
    with pytest.raises(KeyboardInterrupt):
        follow(ours, Presses(Step))
    say(theirs, TRAINING, Step(step=1, steps=9))
    monkeypatch.setattr(confined, "STOP_LIMIT_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        follow(ours, Presses(Step))


def test_a_worker_that_does_not_start_is_an_error_and_its_job_is_private(tmp_path: Path) -> None:
    scoring = Scoring(held_out={}, own=frozenset(), window=64, canaries=(), alternatives=1)
    job = Score(base="none", model="none", scoring=scoring, out=str(tmp_path))
    with pytest.raises(BuildError, match="ValueError"):
        run_confined(job, tmp_path / "work", read=[], required="no such level", show=lambda message: None)
    assert (work_folder(tmp_path / "work") / "job.json").stat().st_mode & 0o077 == 0
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="cannot use"):
        work_folder(tmp_path / "file" / "below")
