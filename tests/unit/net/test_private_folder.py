"""What a killed node leaves in the folder for temporary files is removed by the next one, and nothing else is."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from swarm.errors import StateError
from swarm.net.private_folder import PrivateFolder

_MAKE_ONE_AND_WAIT = """
from swarm.net.private_folder import PrivateFolder
folder = PrivateFolder()
(folder.path / "control.sock").touch()
print(folder.path, flush=True)
input()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_killed_process_leaves_nothing_for_long_and_a_living_one_keeps_its_folder(temporary: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _MAKE_ONE_AND_WAIT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert process.stdout is not None and process.stdin is not None
    theirs = Path(process.stdout.readline().strip())
    mine = PrivateFolder()
    assert (theirs / "control.sock").exists(), "its process lives"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    other = PrivateFolder()
    assert not theirs.exists()
    assert mine.path.exists(), "this process lives and holds it, though it asked itself"
    mine.remove()
    other.remove()
    assert list(temporary.iterdir()) == []


def test_folders_that_are_not_ours_are_left_alone(temporary: Path) -> None:
    (temporary / "tapestry-demo").mkdir()
    (temporary / "tapestry-demo" / "report.html").touch()
    (temporary / "other-1").mkdir()
    (temporary / "other-1" / "owner.lock").touch()
    PrivateFolder().remove()
    assert sorted(path.name for path in temporary.iterdir()) == ["other-1", "tapestry-demo"]


def test_it_is_the_owners_alone() -> None:
    folder = PrivateFolder()
    assert folder.path.stat().st_mode & 0o077 == 0
    folder.remove()


def test_a_folder_that_cannot_be_made_is_one_sentence(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "nothing"))
    with pytest.raises(StateError, match=r"cannot make a folder in .*nothing: No such file"):
        PrivateFolder()
