"""Shell completion, invoked as shells do: bash itself runs its script; answers come without torch."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

HEAVY = ("torch", "hivemind", "transformers", "datasets", "matplotlib")
BIN = Path(sys.executable).parent


def complete(shell: str, words: str, **more: str) -> str:
    """What `tapestry` answers a shell that asks about these words."""
    environment = {**os.environ, "_TAPESTRY_COMPLETE": f"complete_{shell}", **more}
    code = "import sys\nfrom peers.cli import main\nsys.argv = ['tapestry']\ntry:\n    main()\nfinally:\n"
    code += f"    sys.stderr.write(','.join(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"_TYPER_COMPLETE_ARGS": words},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


@cache
def script(shell: str) -> str:
    """What the documentation has people put where their shell looks."""
    environment = {**os.environ, "_TAPESTRY_COMPLETE": f"source_{shell}"}
    done = subprocess.run([BIN / "tapestry"], env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def in_bash(*words: str) -> list[str]:
    """What bash offers after these words, by the function that the script defines."""
    line = " ".join(f"'{word}'" for word in words)
    run = f"{script('bash')}\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}\n"
    run += '$(complete -p tapestry | sed "s/.*-F \\([a-z_]*\\) .*/\\1/") tapestry\nprintf "%s\\n" "${COMPREPLY[@]}"'
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", run], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.split()


def test_bash_completes_commands_options_and_choices() -> None:
    assert in_bash("tapestry", "do") == ["doctor"]
    assert in_bash("tapestry", "charter", "s") == ["sign", "show"]
    assert in_bash("tapestry", "peer", "--max") == ["--max-rounds"]
    assert in_bash("tapestry", "peer", "--device", "c") == ["cpu", "cuda"]
    assert in_bash("tapestry", "nonsense", "x") == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_zsh_and_fish_get_answers_in_their_own_form(shell: str) -> None:
    said = complete(shell, "tapestry pe", _TYPER_COMPLETE_FISH_ACTION="get-args", _TYPER_COMPLETE_WORD_TO_COMPLETE="pe")
    assert "peer" in said and "Take part in a run" in said and "bench" not in said
    assert "tapestry" in script(shell) and f"complete_{shell}" in script(shell)
