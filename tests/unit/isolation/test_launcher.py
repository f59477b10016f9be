"""A confined program's life as seen by who started it: how it ends, what ends it, and what its node is told."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from swarm.isolation import levels
from tests.integration.processes import is_alive, wait_for
from tests.unit.isolation.test_ways_out import HERE, start_one

LIMIT_S = 30.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exit 0", 0),
        ("exit 7", 7),
        ("kill -KILL $$", -signal.SIGKILL),
        ("kill -SEGV $$", -signal.SIGSEGV),
        # Orphans are taken along, whatever they wait for.
        ("sleep 600 & exit 3", 3),
    ],
)
def test_it_ends_as_the_program_did(folder: Path, script: str, code: int) -> None:
    told, ended, errors = start_one(folder, "it", ["/bin/sh", "-c", script])
    assert (told["t"], ended, errors) == ("Confined", code, "")


def test_a_program_that_cannot_be_started_is_named(folder: Path) -> None:
    _, code, errors = start_one(folder, "it", ["/no/such/program"])
    assert (code, errors) == (1, "tapestry-cause: cannot start /no/such/program: No such file or directory\n")


def test_a_terminals_signals_do_not_reach_it(folder: Path) -> None:
    _, code, _ = start_one(folder, "it", ["/bin/sh", "-c", "kill -INT $$; kill -TERM $$; exit 5"])
    assert code == 5


@pytest.mark.parametrize("victim", ["launcher", "starter"])
def test_nothing_outlives_the_launcher_or_who_started_it(folder: Path, victim: str) -> None:
    asked = {
        "command": ["/bin/sh", "-c", "sleep 600 & sleep 601"],
        "data": [],
        "scratch": str(folder / "it"),
        "programs": [],
        "required": levels.NONE,
        "absent": {},
    }
    words = [sys.executable, str(HERE / "start_one.py"), json.dumps(asked)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        launcher = int(starter.stdout.readline())
        family: list[int] = []

        def is_up() -> bool:
            family[:] = [launcher, *_below(launcher)]
            return sum(_name(pid) == "sleep" for pid in family) == 2

        wait_for("the confined program", is_up, LIMIT_S)
        os.kill(launcher if victim == "launcher" else starter.pid, signal.SIGKILL)
        wait_for("the end of all", lambda: not any(is_alive(pid) for pid in family), LIMIT_S)
        if victim == "launcher":
            assert json.loads(starter.stdout.read())[1] == -signal.SIGKILL


def test_the_ladder_counts_only_unbroken_from_below() -> None:
    assert levels.judge({}, "all") == (levels.CONFINED, "all")
    assert levels.judge({levels.CONFINED: "a"}, "all") == (levels.NAMESPACES, "a")
    assert levels.judge({levels.FILTERED: "no filter", levels.CONFINED: "a"}, "all") == (levels.NONE, "no filter; a")
    assert levels.judge({levels.NETWORK_NAMESPACE: "b"}, "all") == (levels.FILTERED, "b")
    for number, required in enumerate(levels.LADDER):
        assert [levels.is_enough(reached, required) for reached in levels.LADDER] == [
            position >= number for position in range(len(levels.LADDER))
        ]


def _below(pid: int) -> list[int]:
    found: list[int] = []
    for line in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += [int(line), *_below(int(line))]
    return found


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        return ""
