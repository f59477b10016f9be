"""`tapestry` commands as processes of their own, watched through output, events, ledgers and /proc."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from swarm import events
from swarm.net.lifeline import tie_to_parent

LIMIT_S = 120.0
"""Longest wait for anything; only a machine in trouble comes near it."""
MAX_OUTPUT_BYTES = 1_000_000
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "TERM": "xterm"}
_COMMAND = (sys.executable, "-m", "peers")


def wait_for(what: str, is_there: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Returns as soon as `is_there`; fails the test after `limit_s`."""
    until_s = time.monotonic() + limit_s
    while not is_there():
        assert time.monotonic() < until_s, f"{what}: not within {limit_s:.0f} s"
        time.sleep(0.02)  # the interval of looking, not a guess of how long it takes


def tapestry(*words: object, limit_s: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    command = [*_COMMAND, *(str(word) for word in words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=limit_s, env=ENVIRONMENT, check=False)


class Running:
    """A command that runs until it ends by itself or is told to."""

    def __init__(self, *words: object, command: Sequence[str] = _COMMAND, terminal_fd: int | None = None) -> None:
        """With `terminal_fd` it runs in the foreground of that terminal, else with its output in files."""
        self._out, self._err = os.memfd_create("stdout"), os.memfd_create("stderr")
        in_terminal = terminal_fd is not None
        self.process = subprocess.Popen(
            [*command, *(str(word) for word in words)],
            stdin=terminal_fd if in_terminal else subprocess.DEVNULL,
            stdout=terminal_fd if in_terminal else self._out,
            stderr=terminal_fd if in_terminal else self._err,
            env=ENVIRONMENT,
            start_new_session=in_terminal,
            preexec_fn=_take_terminal if in_terminal else tie_to_parent(),
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    @property
    def stdout(self) -> str:
        return os.pread(self._out, MAX_OUTPUT_BYTES, 0).decode()

    @property
    def stderr(self) -> str:
        return os.pread(self._err, MAX_OUTPUT_BYTES, 0).decode()

    def end(self, number: signal.Signals | None = None, limit_s: float = LIMIT_S) -> int:
        """Sends a signal, if given, and waits; the return code."""
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(limit_s)

    def kill(self) -> None:
        """Ends it, if it runs, with SIGKILL, and waits."""
        if self.is_running:
            self.process.kill()
            self.process.wait()

    def child(self, name: str) -> int:
        """The process id of the node ("swarm.node"), the trainer ("peers.trainer") or the daemon ("p2pd")."""
        found = [pid for pid in descendants(self.pid) if name in command_line(pid)]
        assert len(found) == 1, (name, found)
        return found[0]


class Peer(Running):
    """`tapestry peer` with a state folder."""

    def __init__(
        self, state: Path, *words: object, command: Sequence[str] = _COMMAND, terminal_fd: int | None = None
    ) -> None:
        self.state = state
        self._events = state / "events.jsonl"
        self._from_bytes = self._events.stat().st_size if self._events.exists() else 0
        super().__init__("peer", "--state", state, *words, command=command, terminal_fd=terminal_fd)

    def happened(self, kind: type[events.Event]) -> list:
        """Events of a kind since this process was started, in order."""
        if not self._events.exists():
            return []
        with self._events.open("rb") as file:
            file.seek(self._from_bytes)
            lines = file.read().split(b"\n")[:-1]
        found = (events.decode_line(line).event for line in lines)
        return [event for event in found if isinstance(event, kind)]

    @property
    def round(self) -> int:
        """The last round it has."""
        known = [*self.happened(events.StateReady), *self.happened(events.RoundCommitted)]
        caught_up = (event.to_round for event in self.happened(events.CaughtUp))
        return max([0, *(event.round for event in known), *caught_up])

    @property
    def id(self) -> str:
        return self.happened(events.NodeStarted)[-1].peer

    @property
    def address(self) -> str:
        return self.happened(events.NodeStarted)[-1].address

    def wait_for(self, kind: type[events.Event], matches: Callable[..., bool] = lambda event: True) -> events.AnyEvent:
        """The first event of a kind that matches."""

        def found() -> list:
            assert self.is_running or any(map(matches, self.happened(kind))), self.stderr
            return [event for event in self.happened(kind) if matches(event)]

        wait_for(f"{kind.__name__} of {self.state.name}", lambda: bool(found()))
        return found()[0]

    def wait_for_round(self, number: int) -> None:
        self.wait_for(events.RoundCommitted, lambda event: event.round >= number)

    def ledger(self) -> list[dict]:
        return [json.loads(line) for line in (self.state / "ledger.jsonl").read_text().splitlines()]


class Terminal:
    """A terminal that shows everything to nobody: what was written is `text`."""

    def __init__(self) -> None:
        self._controller, self.fd = pty.openpty()
        """`fd` is what a process is given."""
        self._shown = bytearray()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def text(self) -> str:
        return self._shown.decode(errors="replace")

    def type(self, keys: str) -> None:
        os.write(self._controller, keys.encode())

    def close(self) -> None:
        """Once its process has ended: reads the rest."""
        os.close(self.fd)
        self._reading.join(LIMIT_S)
        os.close(self._controller)

    def _read(self) -> None:
        while True:
            try:
                self._shown += os.read(self._controller, 65_536)
            except OSError:  # nobody holds the other side any more
                return


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, threads' children included."""
    below: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        for child in (task / "children").read_text().split():
            below += [int(child), *descendants(int(child))]
    return below


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):  # the latter if it ends between opening and reading
        return False


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
