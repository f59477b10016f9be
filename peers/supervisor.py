"""Runs one peer: starts its node, then its trainer, hands on what happens, and stops both cleanly.

The supervisor has neither data nor network of its own. It ends when the node has ended; whatever kills it takes the
node, the trainer and the daemon with it.
"""

import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from peers.ecosystem.tokenizer import keep_tokenizer
from peers.lineage.subjects import STATEMENT_NAME
from peers.trainer import NODE_GONE, TrainerConfig
from swarm import events
from swarm.charter import files
from swarm.clock import process_s
from swarm.errors import StateError, TapestryError, UsageError
from swarm.isolation.levels import NONE
from swarm.isolation.places import program
from swarm.isolation.start import Scratch, start_confined
from swarm.node.config import NodeConfig
from swarm.node.spawn import NodeProcess, describe_exit, read_cause
from swarm.sovereignty.policy import DpRules
from swarm.state.disk import told
from swarm.state.shared_base import EXPORT, set_aside

NODE_STOP_LIMIT_S = 4.0
"""A node that was asked to stop and has not is ended; its state on disk is whole at any instant."""
EXPORT_LIMIT_S = 60.0
"""For the trainer to write the Shared Base after the last round."""
EXPORT_LIMIT_ON_STOP_S = 0.7
"""The same after Ctrl+C: a person should not wait, and the state folder holds the Shared Base anyway."""
_TICK_S = 0.2
OUTPUT = "output.log"
"""What a user's own script prints, in its scratch folder."""


class PeerError(TapestryError):
    """The node or the trainer ended with a cause that a person must mend."""


@dataclass(frozen=True)
class Training:
    """What the trainer is given."""

    files: Sequence[Path]
    held_out: Sequence[Path] = ()
    """What new bases are scored on, where members vote on them."""
    seed: int = 0
    threads: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of files of rows, by path: the field that holds the text, where it is not called "text"."""
    adopted: Path | None = None
    """The checkpoint folder that the run began from, of which the trainer and the state folder need the tokenizer."""
    data: Path | None = None
    """The folder that the trainer may read and the node may not; those that `files` lie in if left out."""
    required: str = NONE
    """The isolation below which the policy forbids to train."""
    dp: DpRules | None = None
    """How the built-in trainer keeps records private, where the policy demands it."""
    command: Sequence[str] = ()
    """A user's own training script, which calls `swarm.join`; empty for the built-in trainer."""

    @property
    def folders(self) -> tuple[Path, ...]:
        return (self.data,) if self.data is not None else tuple(dict.fromkeys(path.parent for path in self.files))

    @property
    def readable(self) -> tuple[Path, ...]:
        """What the trainer may read: the data, which the node may not, and the adopted checkpoint."""
        return self.folders if self.adopted is None else (*self.folders, self.adopted)


class Peer:
    """A running peer. `run` blocks until it has ended; `stop` may be called from a signal handler."""

    def __init__(self, settings: NodeConfig, training: Training, on_event: Callable[[events.Stamped], None]) -> None:
        self._settings = settings
        self._training = training
        self._on_event = on_event
        self._stopping = False
        self._asked_s: float | None = None
        self._scratch: Scratch | None = None
        self.exported: Path | None = None
        """Where the trainer wrote the Shared Base, once it has."""

    def stop(self) -> None:
        """Asks for a clean end."""
        self._stopping = True

    def run(self) -> None:
        """Takes part until the last round, until `stop`, or until something breaks.

        Raises:
            UsageError: the node said that what was typed is wrong.
            PeerError: the node or the trainer failed; the message is its cause.
        """
        with NodeProcess(self._settings, self._training.folders, self._training.required) as node:
            trainer = self._start_trainer(node)
            try:
                self._follow(node, trainer)
                code, cause = node.outcome()
            finally:
                # A node that was asked to stop before it could listen dies of the signal: no failure of its own.
                obeyed = self._asked_s is not None and node.exit_code == -signal.SIGTERM
                complaint = self._end_trainer(trainer, failed=node.exit_code != 0 and not obeyed)
        if complaint:
            raise PeerError(complaint)
        if code == 0 or (self._stopping and code < 0):
            return
        raise UsageError(cause) if code == 2 else PeerError(cause)

    def _follow(self, node: NodeProcess, trainer: subprocess.Popen[bytes]) -> None:
        """Hands on the node's events until it has ended, which it is asked to do when the trainer fails."""
        while not node.ended:
            stamped = node.next_event(_TICK_S)
            if stamped is not None:
                if isinstance(stamped.event, events.CharterReady):
                    self._keep_tokenizer(Path(stamped.event.path))
                self._on_event(stamped)
            if self._asked_s is None and (self._stopping or trainer.poll() not in (None, 0)):
                self._asked_s = process_s()
                node.ask_to_stop()
            if self._asked_s is not None and process_s() - self._asked_s > NODE_STOP_LIMIT_S:
                node.kill()

    def _keep_tokenizer(self, charter: Path) -> None:
        """Of an adopted checkpoint, if it is the run's: the trainer refuses another. StateError if the disk refuses."""
        if self._training.adopted is not None:
            digest = files.read(charter).charter.model.tokenizer_digest
            keep_tokenizer(Path(self._settings.state), self._training.adopted, digest)

    def _start_trainer(self, node: NodeProcess) -> subprocess.Popen[bytes]:
        """Starts it at once: it imports for seconds while the node finds the swarm, then waits for the charter."""
        control_fd = node.control.fileno()
        try:
            scratch = Scratch(Path(self._settings.state))
        except OSError as error:
            raise StateError(f"cannot use the state folder {self._settings.state}: {error.strerror}") from None
        shutil.rmtree(scratch.path / EXPORT, ignore_errors=True)
        config = TrainerConfig(
            control_fd=control_fd,
            shared_fd=node.shared_fd,
            files=tuple(str(path) for path in self._training.files),
            held_out=tuple(str(path) for path in self._training.held_out),
            fields=dict(self._training.fields),
            adopted="" if self._training.adopted is None else str(self._training.adopted),
            seed=self._training.seed,
            threads=self._training.threads,
            device=self._training.device,
            dp=self._training.dp,
            scratch=str(scratch.path.absolute()),
            export=str(scratch.path.absolute() / EXPORT),
        )
        built_in = [sys.executable, "-m", "peers.trainer", msgspec.json.encode(config).decode()]
        command = [*self._training.command] or built_in
        with (scratch.path / OUTPUT).open("wb") as output:
            trainer = start_confined(
                command,
                control_fd=control_fd,
                shared_fd=node.shared_fd,
                programs=(str(Path(__file__).parent), *program(self._training.command)),
                data=self._training.readable,
                scratch=scratch,
                output=output if self._training.command else subprocess.DEVNULL,
                errors=subprocess.PIPE,
                required=self._training.required,
            )
        self._scratch = scratch
        # The trainer holds its end now; ours must close, so that the node sees the trainer's death.
        node.release_control()
        return trainer

    def _end_trainer(self, trainer: subprocess.Popen[bytes], *, failed: bool) -> str:
        """Waits for the trainer to write the Shared Base; returns what it complained of, if it failed by itself."""
        limit_s = EXPORT_LIMIT_ON_STOP_S if self._asked_s is not None else EXPORT_LIMIT_S
        try:
            _, errors = trainer.communicate(timeout=0.0 if failed else limit_s)
        except subprocess.TimeoutExpired:
            trainer.kill()
            trainer.communicate()
            return ""
        if trainer.returncode == 0:
            assert self._scratch is not None, "there was a trainer"
            self.exported = take_export(self._scratch.path, Path(self._settings.state))
        if trainer.returncode in (0, NODE_GONE) or (failed and self._training.command):
            return ""
        cause = read_cause(errors, trainer.returncode)
        return cause or f"the trainer process {describe_exit(trainer.returncode)}"


def take_export(scratch: Path, state: Path) -> Path | None:
    """Moves the Shared Base that a trainer wrote out of its scratch folder; None if it wrote nothing.

    An older one makes room. If it is signed it stays beside under another name, with its statement.

    Raises:
        StateError: the disk refuses.
    """
    written, folder = scratch / EXPORT, state / EXPORT
    if not written.is_dir() or written.is_symlink():
        return None
    with told(folder):
        if (folder / STATEMENT_NAME).exists():
            set_aside(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)
        written.rename(folder)
    return folder


def script_words(text: str | None) -> tuple[str, ...]:
    """A typed command as a program, found, and its arguments; empty for none. Raises UsageError.

    A bare `python` is the interpreter that runs Tapestry: whatever else is first on the path has no `swarm` to import.
    """
    if text is None:
        return ()
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--trainer {text!r} is no command: {error}") from None
    if words and words[0] in ("python", "python3"):
        return (sys.executable, *words[1:])
    found = shutil.which(words[0]) if words else None
    if found is None:
        raise UsageError(f"--trainer {text!r}: no such program")
    return (str(Path(found).absolute()), *words[1:])
