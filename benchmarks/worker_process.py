"""The process around one worker: takes commands from the harness, one reply to each, until told to close.

It leads its own process group and kills that whole group when the harness process ends, however it ends:
engines start daemons of their own, which a death signal of the kernel to this process alone would leave
behind.
"""

import asyncio
import importlib
import multiprocessing
import os
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal, cast

import torch
import uvloop

from benchmarks import process_group, sample
from benchmarks.wan import namespace
from benchmarks.worker import LOOPBACK, JoinFigures, Rendezvous, RoundFigures, Seat, Site, Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a worker process runs; the default is the harness's own network."""

    site: Site = LOOPBACK
    namespace: Path | None = None
    """A network namespace as a file, to move into before the engine is imported."""


HERE = Place()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """All that a worker process needs to know; crosses the process border, so it holds plain values only."""

    module: str
    codec: str
    rank: int
    world: int
    elements: int
    threads: int
    rendezvous: Path
    place: Place


@dataclass(frozen=True, slots=True)
class Command:
    """`prepare` once; then `fill`, `go`, `check` for every round; `close` at the end."""

    kind: Literal["prepare", "fill", "go", "check", "close"]
    round_index: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The command is carried out."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Reply to `check`."""

    rms_error: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker raised; it takes no further commands."""

    cause: str


Reply = Done | RoundFigures | JoinFigures | Checked | Failed


def main(assignment: Assignment, connection: Connection) -> None:
    """Entry point of the process."""
    os.setpgid(0, 0)
    if assignment.place.namespace is not None:  # first of all: threads and processes stay where they begin
        namespace.enter_path(assignment.place.namespace)
    threading.Thread(target=_die_with_parent, name="die-with-parent", daemon=True).start()
    torch.set_num_threads(assignment.threads)
    # Being spawned made "spawn" the default here; engines get the platform's own, as when started by hand.
    multiprocessing.set_start_method("fork", force=True)
    try:
        uvloop.run(_serve(assignment, connection))
    except (EOFError, BrokenPipeError):
        pass  # the harness is gone; so are we
    except Exception as error:  # noqa: BLE001 (the supervisor of foreign code: any failure is one line for a person)
        connection.send(Failed(_one_line(error)))
    # Engines leave non-daemon threads and processes behind that would keep the interpreter from ending.
    sys.stdout.flush()
    sys.stderr.flush()
    connection.close()
    os._exit(0)


async def _serve(assignment: Assignment, connection: Connection) -> None:
    worker = cast(Worker, importlib.import_module(assignment.module).make_worker())
    seat = Seat(
        rank=assignment.rank,
        world=assignment.world,
        rendezvous=Rendezvous(assignment.rendezvous),
        codec=assignment.codec,
        vector=torch.zeros(assignment.elements),
        site=assignment.place.site,
    )
    while True:
        # In a thread: the engine's own tasks (a transport answering its peers) go on between commands.
        command = cast(Command, await asyncio.to_thread(connection.recv))
        reply = await _obey(command, worker, seat)
        connection.send(reply)
        if command.kind == "close":
            return


async def _obey(command: Command, worker: Worker, seat: Seat) -> Reply:
    match command.kind:
        case "prepare":
            sample.fill(seat.vector, round_index=0, rank=seat.rank)  # touches every page before memory is read
            await worker.prepare(seat)
        case "fill":
            await asyncio.to_thread(sample.fill, seat.vector, round_index=command.round_index, rank=seat.rank)
        case "go":
            return await worker.round()
        case "check":
            await worker.collect()
            return Checked(sample.rms_error(seat.vector, round_index=command.round_index, world=seat.world))
        case "close":
            await worker.close()
    return Done()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    process_group.kill(os.getpid())


def _one_line(error: Exception) -> str:
    text = str(error).strip() or "no message"
    return f"{type(error).__name__}: {text.splitlines()[0]}"
