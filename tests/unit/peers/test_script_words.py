"""`tapestry peer --trainer CMD`: the words of a command, and the program they name."""

import sys
from pathlib import Path

import pytest

from peers.supervisor import script_words
from swarm.errors import UsageError


@pytest.mark.parametrize("python", ["python", "python3"])
def test_a_bare_python_is_the_one_that_runs_tapestry_whatever_the_path_says(
    python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / python
    other.write_text("#!/bin/sh\nexit 127\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert script_words(f"{python} 'my train.py' --fast") == (sys.executable, "my train.py", "--fast")
    assert script_words(f"{other} train.py") == (str(other), "train.py")


def test_no_command_is_no_words() -> None:
    assert script_words(None) == ()


@pytest.mark.parametrize("text", ["", "no-such-program-here train.py", "python 'unclosed"])
def test_a_command_that_cannot_start_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--trainer"):
        script_words(text)
