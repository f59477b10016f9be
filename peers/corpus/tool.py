"""Runs one of the system's tools to its end, with a deadline. The only place here that starts a process."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from swarm.errors import DataError


def run_tool(command: Sequence[str], *, folder: Path, timeout_s: float) -> str:
    """What the command prints; it runs in `folder`, in English and without asking anything.

    Raises:
        DataError: the tool is absent, fails or takes longer than `timeout_s`.
    """
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError as error:
        raise DataError(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{command[0]} did not finish within {timeout_s:.0f} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise DataError(f"{command[0]} failed: {said[-1] if said else f'exit {done.returncode}'}")
    return done.stdout
