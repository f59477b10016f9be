"""Starting a confined trainer from the program that owns it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from swarm.isolation import places
from swarm.isolation.levels import NONE
from swarm.isolation.spec import Spec

CONTROL_VARIABLE, SHARED_VARIABLE = "TAPESTRY_CONTROL_FD", "TAPESTRY_SHARED_FD"
"""How a script that `swarm.join` is called in learns that it runs as a peer's trainer."""
SCRATCH_VARIABLE = "TAPESTRY_SCRATCH"
"""The one folder a confined script can write."""

_LAUNCHER = Path(__file__).resolve().parent


class Scratch:
    """The folders of a trainer below the state folder: one it can write, and one that its file system is built on."""

    def __init__(self, state: Path) -> None:
        """Makes them; what an earlier trainer left as temporary files is removed. Raises OSError."""
        self.path = state / "trainer"
        """What the trainer can write."""
        self.root = state / "trainer.root"
        self.temporary = self.path / "tmp"
        shutil.rmtree(self.temporary, ignore_errors=True)
        for folder in (self.path, self.root, self.temporary):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def start_confined(
    command: Sequence[str],
    *,
    control_fd: int,
    shared_fd: int,
    programs: Sequence[str],
    data: Sequence[Path],
    scratch: Scratch,
    output: int | IO[bytes],
    errors: int | IO[bytes],
    required: str = NONE,
) -> subprocess.Popen[bytes]:
    """Starts a command that sees its data, programs and scratch folder, and otherwise nobody and nothing.

    Its first word on the control socket is the level reached. Below `required` it ends with the cause instead.

    Args:
        command: the program and its arguments.
        control_fd: its end of the socket to the node.
        shared_fd: the shared vectors.
        programs: folders and files it may execute, besides Python's.
        data: folders and files it may read.
        scratch: where it may write.
        output: its standard output, as for `subprocess`.
        errors: its standard error.
        required: a level of `swarm.isolation.levels`.
    """
    spec = Spec(
        parent_pid=os.getpid(),
        command=tuple(command),
        control_fd=control_fd,
        shared_fd=shared_fd,
        run=(*places.python(), *(str(Path(path).absolute()) for path in programs)),
        read=tuple(str(path.absolute()) for path in data),
        files=places.settings(),
        write=(str(scratch.path.absolute()),),
        root=str(scratch.root.absolute()),
        folder=str(Path.cwd()),
        required=required,
    )
    environment = {
        **os.environ,
        "TMPDIR": str(scratch.temporary.absolute()),
        "XDG_CACHE_HOME": str(scratch.path.absolute() / "cache"),
        CONTROL_VARIABLE: str(control_fd),
        SHARED_VARIABLE: str(shared_fd),
        SCRATCH_VARIABLE: str(scratch.path.absolute()),
    }
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_LAUNCHER)],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=errors,
        env=environment,
        pass_fds=(control_fd, shared_fd),
    )
    assert process.stdin is not None
    with process.stdin as pipe:
        pipe.write(spec.encode())
    process.stdin = None  # else `communicate` would flush it
    return process
