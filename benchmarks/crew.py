"""The worker processes of a bench: starts them, asks them all at once, ends them whatever happens.

Nothing is measured here. A worker that dies, raises or keeps silent past its limit becomes one `BenchError`.
"""

import multiprocessing
import signal
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from benchmarks import process_group, worker_process
from benchmarks.worker import JoinFigures, RoundFigures
from benchmarks.worker_process import HERE, Assignment, Checked, Command, Done, Failed, Place, Reply
from swarm.clock import process_s
from swarm.errors import TapestryError

_TICK_S = 0.05


class BenchError(TapestryError):
    """A bench could not be finished; the message names the peer and the cause."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One worker process and the pipe to it."""

    rank: int
    process: SpawnProcess
    connection: Connection

    @property
    def group(self) -> int:
        """The process group that the worker leads."""
        assert self.process.pid is not None
        return self.process.pid


def _nothing() -> None:
    pass


@contextmanager
def started(
    *, module: str, codec: str, world: int, elements: int, threads: int, places: Sequence[Place] | None = None
) -> Generator[Sequence[Peer]]:
    """Worker processes, all of them gone afterwards with everything they started.

    `places` says for each rank where it runs; without it all run here.
    """
    context = multiprocessing.get_context("spawn")
    peers: list[Peer] = []
    with tempfile.TemporaryDirectory(prefix="tapestry-bench-") as folder:
        try:
            for rank in range(world):
                ours, theirs = context.Pipe()
                assignment = Assignment(
                    module=module,
                    codec=codec,
                    rank=rank,
                    world=world,
                    elements=elements,
                    threads=threads,
                    rendezvous=Path(folder),
                    place=HERE if places is None else places[rank],
                )
                process = context.Process(target=worker_process.main, args=(assignment, theirs))
                with deaf_to_ctrl_c():  # it reaches the harness alone, which then ends the workers
                    process.start()
                theirs.close()
                peers.append(Peer(rank, process, ours))
            yield peers
        finally:
            with deaf_to_ctrl_c():  # a second one would leave the rest of the workers behind
                for peer in peers:
                    process_group.kill(peer.group)
                    peer.process.kill()  # one that had not yet made its group
                    peer.process.join()
                    peer.connection.close()


@contextmanager
def deaf_to_ctrl_c() -> Generator[None]:
    """Ctrl+C takes effect after the block; a process started inside is deaf to it for good."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ask(peers: Sequence[Peer], command: Command, timeout_s: float, watch: Callable[[], None] = _nothing) -> list[Reply]:
    """Sends the command to all, calls `watch` every 50 ms, and returns the replies in the order of `peers`."""
    tell(peers, command)
    return hear(peers, command, timeout_s, watch)


def tell(peers: Sequence[Peer], command: Command) -> None:
    """Sends the command to all; `hear` has to follow before the next one."""
    for peer in peers:
        try:
            peer.connection.send(command)
        except BrokenPipeError:
            raise _death(peer) from None


def hear(
    peers: Sequence[Peer], command: Command, timeout_s: float, watch: Callable[[], None] = _nothing
) -> list[Reply]:
    """The replies to a command that was sent, in the order of `peers`; calls `watch` every 50 ms meanwhile."""
    deadline_s = process_s() + timeout_s
    replies: dict[int, Reply] = {}
    while len(replies) < len(peers):
        waiting = [peer for peer in peers if peer.rank not in replies]
        wait([peer.connection for peer in waiting], timeout=_TICK_S)
        for peer in waiting:
            # Asked before the pipe is looked at, since the last reply may come with the end. The pipe alone
            # does not tell: a helper process that inherited its other end keeps it open.
            ended = peer.process.exitcode is not None
            if peer.connection.poll():
                replies[peer.rank] = _reply(peer)
            elif ended:
                raise _death(peer)
        watch()
        if len(replies) < len(peers) and process_s() > deadline_s:
            silent = ", ".join(str(peer.rank) for peer in peers if peer.rank not in replies)
            raise BenchError(f"no answer to {command.kind!r} from peer {silent} within {timeout_s:g} s")
    return [replies[peer.rank] for peer in peers]


def _reply(peer: Peer) -> Reply:
    try:
        reply = peer.connection.recv()
    except (EOFError, ConnectionResetError):
        raise _death(peer) from None
    if isinstance(reply, Failed):
        raise BenchError(f"peer {peer.rank} failed: {reply.cause}")
    assert isinstance(reply, Done | RoundFigures | JoinFigures | Checked), reply
    return reply


def _death(peer: Peer) -> BenchError:
    peer.process.join(1.0)
    code = peer.process.exitcode
    how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    return BenchError(f"peer {peer.rank} died ({how})")
