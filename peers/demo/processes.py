"""The pilot's processes: each peer and the bootstrap node started by the same commands a person types."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from peers.demo.workbench import Job
from swarm import events
from swarm.clock import pause_s, process_s
from swarm.errors import NetworkError, TapestryError
from swarm.net.lifeline import tie_to_parent

A = TypeVar("A")

LOOPBACK = "/ip4/127.0.0.1/tcp/0"
BOOTSTRAP_LIMIT_S = 90.0
STOP_LIMIT_S = 8.0
_POLL_S = 0.05


class Command:
    """A `tapestry` command running on its own, with its output in files."""

    def __init__(
        self, module: str, arguments: Sequence[str], stdin: int = subprocess.DEVNULL, before: Sequence[str] = ()
    ) -> None:
        """`before` is a program, with its arguments, that starts the command in its own place."""
        self._out = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._err = tempfile.TemporaryFile()  # noqa: SIM115
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [*before, sys.executable, "-m", module, *arguments],
            stdin=stdin,
            stdout=self._out,
            stderr=self._err,
            env=environment,
            preexec_fn=tie_to_parent(),
        )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        self._out.seek(0)
        return self._out.read().decode()

    def cause(self) -> str:
        """The last line it complained with."""
        self._err.seek(0)
        lines = self._err.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it ended with code {self._process.returncode}"

    def result(self) -> object:
        """The JSON document it printed. Raises TapestryError if it failed."""
        if self._process.wait() != 0:
            raise TapestryError(self.cause().removeprefix("tapestry: "))
        return json.loads(self.output)

    def kill(self) -> None:
        """SIGKILL, as unkind as a power cut."""
        self._process.kill()
        self._process.wait()

    def ask_to_stop(self) -> None:
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Asks, waits, and then insists."""
        self.ask_to_stop()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()


@dataclass(frozen=True)
class PeerPapers:
    """What one peer is started with."""

    peer_id: str
    member: str
    region: str
    identity: Path
    passport: Path
    data: Path


class PeerCommand(Command):
    """`tapestry peer`, with the events its node writes."""

    def __init__(
        self, papers: PeerPapers, join: str, state: Path, rounds: int, seed: int, options: Sequence[str] = ()
    ) -> None:
        self.papers = papers
        self.state = state
        self._events = state / "events.jsonl"
        self._read_bytes = 0
        super().__init__(
            "peers",
            [
                "peer", "--json", "--join", join, "--data", str(papers.data), "--identity", str(papers.identity),
                "--passport", str(papers.passport), "--state", str(state), "--listen", LOOPBACK,
                "--max-rounds", str(rounds), "--seed", str(seed), *options,
            ],
        )  # fmt: skip

    def new_events(self) -> list[events.Stamped]:
        """Events written since the last call; a line still being written waits for the next."""
        try:
            with self._events.open("rb") as file:
                file.seek(self._read_bytes)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        return [events.decode_line(line) for line in whole.splitlines()]


def start_bootstrap(charter: Path, identity: Path, state: Path) -> tuple[Command, str]:
    """A running bootstrap node and the address to join. Raises NetworkError if it does not come up."""
    command = Command(
        "peers",
        [
            "bootstrap", "--json", "--charter", str(charter), "--identity", str(identity), "--state", str(state),
            "--listen", LOOPBACK,
        ],
    )  # fmt: skip
    until_s = process_s() + BOOTSTRAP_LIMIT_S
    while process_s() < until_s and command.is_running:
        if "\n" in command.output:
            return command, json.loads(command.output)["join"]
        pause_s(_POLL_S)
    command.stop()
    raise NetworkError(f"the bootstrap node did not come up: {command.cause()}")


class Workbench(Command):
    """A worker that makes, trains and scores models outside the swarm, one job after another."""

    def __init__(self) -> None:
        super().__init__("peers.demo.workbench", [str(os.getpid())], stdin=subprocess.PIPE)
        self._answered = 0

    def give(self, job: Job) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        stdin.write(msgspec.json.encode(job) + b"\n")
        stdin.flush()

    def answer(self, expected: type[A]) -> A | None:
        """The answer to the last job, once it is there. Raises TapestryError if the worker died."""
        lines = self.output.splitlines(keepends=True)
        if len(lines) > self._answered and lines[self._answered].endswith("\n"):
            self._answered += 1
            return msgspec.json.decode(lines[self._answered - 1], type=expected)
        if not self.is_running:
            raise TapestryError(f"the pilot's work with models failed: {self.cause()}")
        return None

    def wait_for(self, expected: type[A]) -> A:
        """The answer, waiting for it."""
        while (answer := self.answer(expected)) is None:
            pause_s(_POLL_S)
        return answer
