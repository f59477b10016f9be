"""What a node process, and what it starts, can open: its own, and not the data."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from swarm.errors import PolicyError
from swarm.isolation import landlock, levels
from swarm.node import walls
from swarm.node.config import NodeConfig
from swarm.node.spawn import NodeProcess

_TRY = """
import os, subprocess, sys, tempfile
def came_of(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "done"
data, state, identity = sys.argv[1:]
print(came_of(lambda: open(data).close()))
print(came_of(lambda: os.listdir(os.path.dirname(data))))
print(came_of(lambda: open(data, "w").close()))
print(subprocess.run(["cat", data], capture_output=True).returncode)
print(came_of(lambda: open(identity).close()))
print(came_of(lambda: open(identity, "w").close()))
print(came_of(lambda: os.makedirs(state + "/records/1")))
print(came_of(lambda: os.rename(state + "/records/1", state + "/moved")))
print(came_of(lambda: tempfile.mkdtemp()))
print(came_of(lambda: __import__("multiprocessing").Lock()))
"""


@pytest.fixture
def settings(tmp_path: Path) -> NodeConfig:
    for name in ("state", "data", "papers", "temporary"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "a.txt").write_text("private")
    (tmp_path / "papers" / "key").write_text("key")
    return NodeConfig(join=(), state=str(tmp_path / "state"), identity=str(tmp_path / "papers" / "key"))


def attempts(settings: NodeConfig, tmp_path: Path, ruleset: int | None) -> list[str]:
    words = [str(tmp_path / "data" / "a.txt"), settings.state, str(settings.identity)]
    done = subprocess.run(
        [sys.executable, "-c", _TRY, *words],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
        env={"TMPDIR": str(tmp_path / "temporary"), "PATH": "/usr/bin:/bin"},
        preexec_fn=None if ruleset is None else partial(landlock.restrict_self, ruleset),
    )
    return done.stdout.splitlines()


def test_the_data_cannot_be_opened_and_its_own_can(settings: NodeConfig, tmp_path: Path) -> None:
    built = walls.build(settings, tmp_path / "temporary", [tmp_path / "data"])
    if landlock.abi() < landlock.MIN_ABI:
        assert not built.hide_data and "no Landlock" in built.sentence
        return
    assert built.hide_data and "cannot open the data" in built.sentence
    no, yes = "PermissionError", "done"
    assert attempts(settings, tmp_path, built.ruleset) == [no, no, no, "1", yes, no, yes, yes, yes, yes]


def test_without_walls_all_of_it_can_be_done(settings: NodeConfig, tmp_path: Path) -> None:
    assert attempts(settings, tmp_path, None) == [*["done"] * 3, "0", *["done"] * 6]


_TRY_BY_PROC = """
import os, sys
pid, data = sys.argv[1:]
def read(path):
    with open(path, "rb") as file:
        return file.read(1)
ways = {
    "working folder": lambda: os.listdir(f"/proc/{pid}/cwd/"),
    "root": lambda: read(f"/proc/{pid}/root{data}"),
    "descriptor": lambda: read(f"/proc/{pid}/fd/0"),
    "memory": lambda: open(f"/proc/{pid}/mem", "rb").close(),
}
for name, way in ways.items():
    try:
        way()
        print(name)
    except OSError:
        pass
"""


@pytest.mark.parametrize("has_walls", [True, False])
def test_the_data_cannot_be_reached_through_a_process_that_holds_it(
    settings: NodeConfig, tmp_path: Path, has_walls: bool
) -> None:
    """Of the same user, with the data open and as its working folder, as a trainer or whoever started it may be."""
    data = tmp_path / "data"
    ruleset = walls.build(settings, tmp_path / "temporary", [data]).ruleset if has_walls else None
    with (data / "a.txt").open("rb") as file, subprocess.Popen(["sleep", "60"], cwd=data, stdin=file) as holder:
        done = subprocess.run(
            [sys.executable, "-c", _TRY_BY_PROC, str(holder.pid), str(data / "a.txt")],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
            preexec_fn=None if ruleset is None else partial(landlock.restrict_self, ruleset),
        )
        holder.kill()
    reached = done.stdout.split("\n")[:-1]
    if ruleset is not None:
        assert reached == []
    else:
        assert set(reached) == {"working folder", "root", "descriptor", "memory"}


def test_data_among_what_the_node_needs_is_said_and_refused_where_confinement_is_demanded(
    settings: NodeConfig, tmp_path: Path
) -> None:
    inside = Path(settings.state) / "data"
    inside.mkdir()
    for data in (inside, tmp_path):  # in the state folder, and around it
        built = walls.build(settings, tmp_path / "temporary", [data])
        assert not built.hide_data
        with pytest.raises(PolicyError, match='demands isolation "confined"'):
            NodeProcess(settings, [data], levels.CONFINED)


def test_a_kernel_without_landlock_is_said(
    settings: NodeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landlock, "abi", lambda: 0)
    built = walls.build(settings, tmp_path / "temporary", [tmp_path / "data"])
    assert (built.ruleset, built.hide_data) == (None, False) and "5.19" in built.sentence
    with pytest.raises(PolicyError, match="has no Landlock"):
        NodeProcess(settings, [tmp_path / "data"], levels.CONFINED)


def test_a_folder_that_somebody_else_put_there_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mine = walls.temporary_folder()
    assert mine == walls.temporary_folder() and mine.stat().st_mode & 0o077 == 0
    mine.rmdir()
    (tmp_path / "elsewhere").mkdir()
    mine.symlink_to(tmp_path / "elsewhere")
    other = walls.temporary_folder()
    assert other not in (mine, tmp_path / "elsewhere") and other.parent == tmp_path
