"""Runs a worker in confinement, hands on what it tells, and ends it cleanly when somebody presses Ctrl+C.

The worker gets the kernel's walls of a trainer (`swarm.isolation`): no network, no files but those of its job. It dies
with this process, whatever kills that.
"""

import os
import select
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from peers.build.jobs import STOP, Confined, Doing, Done, FromWorker, Job, Step, Stopped
from swarm.clock import process_s
from swarm.errors import StateError, TapestryError
from swarm.isolation.levels import NONE
from swarm.isolation.start import Scratch, start_confined
from swarm.node.spawn import describe_exit, make_shared_fd, read_cause

STOP_LIMIT_S = 30.0
"""For a worker that trains to write a checkpoint after Ctrl+C; then it is ended, and the checkpoint before counts."""
_READ_BYTES = 65_536
_LOOK_S = 0.2
_OWNER_ONLY = 0o600


class BuildError(TapestryError):
    """A stage could not be done, or its gate has refused it."""


@dataclass(frozen=True)
class Ended:
    """What a worker has done."""

    done: Done
    isolation: str
    """The level it reached, as it says itself."""


def work_folder(folder: Path) -> Path:
    """Where a worker's job may write: the scratch folder below `folder`, made if absent. Raises StateError."""
    try:
        return Scratch(folder).path
    except OSError as error:
        raise StateError(f"cannot use {folder}: {error.strerror}") from None


def run_confined(
    job: Job, folder: Path, *, read: Sequence[Path], required: str, show: Callable[[FromWorker], None]
) -> Ended:
    """Runs a job to its end. Ctrl+C lets it write a checkpoint while it trains; a second one ends it at once.

    Args:
        job: what it writes lies in `work_folder(folder)`.
        folder: private to this job.
        read: files and folders it may read.
        required: the isolation below which the policy forbids to train.
        show: told of everything the worker says.

    Raises:
        BuildError: it failed; the message is its cause.
        KeyboardInterrupt: it was ended before it was done; what it had saved is kept.
    """
    scratch = Scratch(folder)
    path = scratch.path / "job.json"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, _OWNER_ONLY), "wb") as file:
        file.write(msgspec.json.encode(job))
    ours, theirs = socket.socketpair()
    shared_fd = make_shared_fd()
    errors = scratch.path / "errors.log"
    with ours, errors.open("wb") as log:
        process = start_confined(
            [sys.executable, "-m", "peers.build.worker", str(path.absolute())],
            control_fd=theirs.fileno(),
            shared_fd=shared_fd,
            programs=(str(Path(__file__).parents[1]),),
            data=read,
            scratch=scratch,
            output=log,
            errors=log,
            required=required,
        )
        theirs.close()
        os.close(shared_fd)
        try:
            told = follow(ours, show)
        except BaseException:
            process.kill()
            raise
        finally:
            code = process.wait()
    match told[-1] if told else None:
        case Done() as done:
            return Ended(done, next((each.isolation for each in told if isinstance(each, Confined)), NONE))
        case Stopped():
            raise KeyboardInterrupt
        case _:
            cause = read_cause(errors.read_bytes(), code)
            raise BuildError(cause or f"the process that trains {describe_exit(code)}")


def remove(folder: Path) -> None:
    """Removes a folder and all in it, if it is there. Raises StateError."""
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise StateError(f"cannot remove {folder}: {error.strerror}") from None


def follow(ours: socket.socket, show: Callable[[FromWorker], None]) -> list[Confined | Done | Stopped]:
    """What a worker says, until it has closed its end; the walls and the last word are all that is kept.

    Raises:
        KeyboardInterrupt: Ctrl+C, unless the worker trains and this is the first; or it has not stopped in time.
    """
    decoder = msgspec.json.Decoder(FromWorker)
    told: list[Confined | Done | Stopped] = []
    buffer = b""
    is_training = False
    asked_s: float | None = None
    while True:
        try:
            while b"\n" in buffer:
                line, buffer = buffer.split(b"\n", 1)
                message: FromWorker = decoder.decode(line)
                match message:
                    case Confined() | Done() | Stopped():
                        told.append(message)
                    case Doing():
                        is_training = message.what == "training"
                    case Step():
                        pass
                show(message)
            if select.select([ours], [], [], _LOOK_S)[0]:
                data = _received(ours)
                if not data:
                    return told
                buffer += data
            elif asked_s is not None and process_s() - asked_s > STOP_LIMIT_S:
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            if asked_s is not None or not is_training:
                raise
            asked_s = process_s()
            with suppress(ConnectionError):  # it has just ended by itself
                ours.sendall(STOP)


def _received(ours: socket.socket) -> bytes:
    """What comes next; nothing at the end, also where the worker has ended without reading what it was told."""
    try:
        return ours.recv(_READ_BYTES)
    except ConnectionResetError:
        return b""
