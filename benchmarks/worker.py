"""What an engine must offer to be measured: the `Worker` protocol, and the seat and site it is given.

An engine is a module with a function `make_worker() -> Worker`. The harness imports it by name inside a
process of its own, one per peer, so an engine may start whatever threads and child processes it likes: all of
them are counted, and all of them die with the bench. No measuring here; that is `harness.py`.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """An empty folder that the workers of one bench share, to tell each other where they listen."""

    folder: Path

    def publish(self, name: str, text: str) -> None:
        """Makes `text` readable to the others under `name`, all of it or nothing."""
        draft = self.folder / f".{name}"
        draft.write_text(text)
        draft.rename(self.folder / name)

    async def read(self, name: str) -> str:
        """Waits until somebody has published `name`; the harness bounds the wait."""
        while not (self.folder / name).exists():  # noqa: ASYNC110 (another process publishes)
            await asyncio.sleep(_POLL_S)
        return (self.folder / name).read_text()


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a peer stands, and what the run's rules make of places; the default is one region on loopback."""

    listen: str = "127.0.0.1"
    """The IPv4 address that the others reach this peer at."""
    jurisdiction: str = "DE"
    """Peers of one jurisdiction form a region."""
    levels: Literal[1, 2] = 2
    """2: regions first, then across borders; 1: every peer reduces with every other. The same for all peers."""
    min_contributors: int = 1
    """Members an aggregate must hold to cross a border; the same for all peers."""
    duty: Literal["trains", "lies", "joins"] = "trains"
    """Lies: every piece of the state it gives is wrong. Joins: it is not of the first hour and holds no state."""


LOOPBACK = Site()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One peer's place in a bench."""

    rank: int
    world: int
    rendezvous: Rendezvous
    codec: str
    """`int8` or `float32`; an engine that has no such codec raises ValueError in `prepare`."""
    vector: torch.Tensor
    """Float32 input, shape (N,), filled anew before each round; an engine may move it to shared memory."""
    site: Site = LOOPBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundFigures:
    """What only the engine can know about its round; the harness measures the rest from outside."""

    form_s: float
    """From the call until this peer knew its group."""
    data_s: float
    """From then until this peer held the average."""
    commit_s: float = 0.0
    """From then until the result was agreed and acted on; 0 for engines that only average."""
    closed_bytes: int = 0
    """Sent on connections that were opened or used in the round and are closed by now, which nobody outside can see."""
    abroad_bytes: int = 0
    """Of the frames given to peers of other jurisdictions, as a ledger counts them; 0 if the engine does not say."""
    commit_cpu_s: float = 0.0
    """Processor seconds in the round that went into acting on the average (an outer step, say); 0 for engines that only
    average."""
    named_bytes: int = 0
    """What the vectors that any engine must hold besides its input take here: what is carried on, the result, the
    result as it travels, and a base with its outer state; 0 if the engine does not say."""
    group_size: int
    """Peers in the group, this one included; fewer than `world` makes the round incomplete."""

    def __post_init__(self) -> None:
        assert self.form_s >= 0 and self.data_s > 0, (self.form_s, self.data_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinFigures:
    """What a newcomer saw of its way to the state."""

    download_s: float
    """From its first question to the last verified piece."""
    ready_s: float
    """From its first question until the state was saved on disk, verified."""
    state_bytes: int
    received_bytes: int
    """Everything that came: records, pieces, those that were wrong included."""
    is_right: bool
    """Whether every bit is what the donors began with."""


class Worker(Protocol):
    """One peer of the engine under test. Called strictly in the order prepare, round, round, ..., close."""

    async def prepare(self, seat: Seat) -> None:
        """Connects to the others. Everything that is paid once per run and not per round belongs here."""
        ...

    async def round(self) -> RoundFigures | JoinFigures:
        """Averages `seat.vector` over all peers with equal weights; an engine may use its memory as it likes.

        A newcomer comes to the state instead.
        """
        ...

    async def collect(self) -> None:
        """Puts the average into `seat.vector`, if it lies elsewhere: for the check, after the clock has stopped."""
        ...

    async def close(self) -> None:
        """Leaves politely; what is still running a little later is killed."""
        ...
