"""Starting a node process from the program that owns it, and reading its events. Imports neither torch nor
hivemind."""

import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from swarm import events
from swarm.errors import NetworkError, PolicyError, TapestryError
from swarm.isolation import landlock, levels
from swarm.isolation.spec import CAUSE
from swarm.node import walls
from swarm.node.config import NodeConfig
from swarm.sovereignty.reasons import Reason

STOP_LIMIT_S = 8.0


class NodeProcess:
    """A running node. `control` and `shared_fd` belong to its trainer; `next_event` tells what happens."""

    def __init__(self, settings: NodeConfig, data: Sequence[Path] = (), required: str = levels.NONE) -> None:
        """Starts it; descriptors and parent in `settings` are filled in here.

        Args:
            data: folders it must not be able to open.
            required: the isolation that a policy demands of the trainer; "confined" demands this of the node as well.

        Raises:
            PolicyError: the node could open the data, and the policy demands that it cannot.
        """
        temporary = walls.temporary_folder()
        with suppress(OSError):  # the node itself says what is wrong with it
            Path(settings.state).mkdir(parents=True, exist_ok=True)
        built = walls.build(settings, temporary, data)
        if required == levels.CONFINED and not built.hide_data:
            cause = levels.refusal(levels.NAMESPACES, built.sentence, required)
            raise PolicyError(cause, Reason.ISOLATION_TOO_LOW)
        self.control, node_end = socket.socketpair()
        self.shared_fd = make_shared_fd()
        config = msgspec.structs.replace(
            settings,
            parent_pid=os.getpid(),
            control_fd=node_end.fileno(),
            shared_fd=self.shared_fd,
            walls=built.sentence,
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "swarm.node", msgspec.json.encode(config).decode()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(temporary)},
            pass_fds=(node_end.fileno(), self.shared_fd),
            preexec_fn=None if built.ruleset is None else partial(landlock.restrict_self, built.ruleset),
        )
        node_end.close()
        if built.ruleset is not None:
            os.close(built.ruleset)
        self._events: queue.Queue[events.Stamped | None] = queue.Queue()
        self._errors = bytearray()
        self._readers = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def next_event(self, timeout_s: float) -> events.Stamped | None:
        """The next event, or None after `timeout_s` without one or when the node has ended (`ended` tells which)."""
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    @property
    def ended(self) -> bool:
        """Whether the process is gone and all its events have been taken."""
        return self._process.poll() is not None and not self._readers[0].is_alive() and self._events.empty()

    @property
    def has_exited(self) -> bool:
        return self.exit_code is not None

    @property
    def exit_code(self) -> int | None:
        """As `subprocess` gives it: negative for a signal, None while it runs."""
        return self._process.poll()

    def outcome(self) -> tuple[int, str]:
        """Exit code and the cause it printed, once it has ended."""
        code = self._process.wait()
        for reader in self._readers:
            reader.join()
        return code, read_cause(bytes(self._errors), code) or f"the node process {describe_exit(code)}"

    def ask_to_stop(self) -> None:
        """Asks it to leave the swarm cleanly."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it at once; what it had saved stays."""
        self._process.kill()

    def release_control(self) -> None:
        """Closes this process's copy of the trainer's socket, once a trainer process has its own."""
        self.control.close()

    def close(self) -> None:
        """Leaves cleanly if it can, and in any case ends it."""
        self.ask_to_stop()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.control.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_events(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self._events.put(events.decode_line(line))
            except msgspec.DecodeError:
                continue  # a library printed to stdout

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors += line


def write_cause(error: TapestryError) -> None:
    """A process's last words to the one that started it, told from what libraries print to stderr as well."""
    print(CAUSE + " ".join(str(error).split()), file=sys.stderr, flush=True)


def read_cause(stderr: bytes, code: int) -> str:
    """What a process wrote with `write_cause`; else, if it failed by itself, its last line."""
    lines = stderr.decode(errors="replace").strip().splitlines()
    causes = [line.removeprefix(CAUSE) for line in lines if line.startswith(CAUSE)]
    return causes[-1] if causes else lines[-1] if lines and code > 0 else ""


def describe_exit(code: int) -> str:
    """A return code of `subprocess` in words, such as "was killed (SIGKILL)"."""
    return f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"


def wait_for_charter(node: NodeProcess, timeout_s: float) -> tuple[events.CharterReady, list[events.Stamped]]:
    """Waits until the node has verified the run's charter; also returns the events that came before it.

    Raises:
        NetworkError: the node ended first; its cause is the message.
    """
    before: list[events.Stamped] = []
    while True:
        stamped = node.next_event(timeout_s)
        if stamped is None:
            if node.has_exited:
                raise NetworkError(node.outcome()[1])
            raise NetworkError(f"the node did not come up within {timeout_s:.0f} s")
        if isinstance(stamped.event, events.CharterReady):
            return stamped.event, before
        before.append(stamped)


def make_shared_fd() -> int:
    """A file descriptor of anonymous memory, so that nothing is left behind when a process is killed."""
    if sys.platform == "linux":
        return os.memfd_create("tapestry")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
