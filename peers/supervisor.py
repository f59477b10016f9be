"""Runs one peer: starts its node, then its trainer, hands on what happens, and stops both cleanly.

The supervisor has neither data nor network of its own. It ends when the node has ended; whatever kills it takes the
node, the trainer and the daemon with it.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from peers.trainer import TrainerConfig
from swarm import events
from swarm.errors import TapestryError, UsageError
from swarm.node.config import NodeConfig
from swarm.node.spawn import NodeProcess

START_LIMIT_S = 120.0
TRAINER_STOP_LIMIT_S = 4.0
_TICK_S = 0.2


class PeerError(TapestryError):
    """The node or the trainer ended with a cause that a person must mend."""


@dataclass(frozen=True)
class Training:
    """What the built-in trainer is given."""

    files: Sequence[Path]
    seed: int = 0
    threads: int = 1


class Peer:
    """A running peer. `run` blocks until it has ended; `stop` may be called from a signal handler."""

    def __init__(self, settings: NodeConfig, training: Training, on_event: Callable[[events.Stamped], None]) -> None:
        self._settings = settings
        self._training = training
        self._on_event = on_event
        self._stopping = False
        self._trainer: subprocess.Popen[bytes] | None = None
        self.export = Path(settings.state) / "shared-base"

    def stop(self) -> None:
        """Asks for a clean end."""
        self._stopping = True

    def run(self) -> None:
        """Takes part until the last round, until `stop`, or until something breaks.

        Raises:
            UsageError: the node said that what was typed is wrong.
            PeerError: the node or the trainer failed; the message is its cause.
        """
        asked = False
        with NodeProcess(self._settings) as node:
            try:
                self._start_trainer(node)
                while not node.ended:
                    stamped = node.next_event(_TICK_S)
                    if stamped is not None:
                        self._on_event(stamped)
                    if self._stopping and not asked:
                        asked = True
                        node.ask_to_stop()
                    if self._trainer is not None and self._trainer.poll() not in (None, 0) and not asked:
                        asked = True
                        node.ask_to_stop()
                code, cause = node.outcome()
            finally:
                trainer_cause = self._end_trainer()
        if trainer_cause:
            raise PeerError(trainer_cause)
        if code == 2:
            raise UsageError(cause)
        if code != 0:
            raise PeerError(cause)

    def _start_trainer(self, node: NodeProcess) -> None:
        """Starts it at once: it imports for seconds while the node finds the swarm, then waits for the charter."""
        control_fd = node.control.fileno()
        config = TrainerConfig(
            parent_pid=os.getpid(),
            control_fd=control_fd,
            shared_fd=node.shared_fd,
            files=tuple(str(path) for path in self._training.files),
            seed=self._training.seed,
            threads=self._training.threads,
            export=str(self.export),
        )
        self._trainer = subprocess.Popen(
            [sys.executable, "-m", "peers.trainer", msgspec.json.encode(config).decode()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(control_fd, node.shared_fd),
        )
        # The trainer holds its end now; ours must close, so that the node sees the trainer's death.
        node.release_control()

    def _end_trainer(self) -> str:
        """Waits for the trainer to write the Shared Base; returns what it complained of, if it failed by itself."""
        trainer = self._trainer
        if trainer is None:
            return ""
        try:
            _, errors = trainer.communicate(timeout=TRAINER_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            trainer.kill()
            trainer.communicate()
            return ""
        lines = errors.decode(errors="replace").strip().splitlines()
        failed = trainer.returncode not in (0, -9) and lines and "the node process has ended" not in lines[-1]
        return lines[-1].split(": ", 1)[-1] if failed else ""
