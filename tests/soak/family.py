"""One peer forked from the template: a parent in the place of `tapestry peer`, its node and its trainer.

Node and trainer run through the very `main` of their modules, with the same configuration as a single argument. Only
who starts them differs: a fork instead of a fresh interpreter. The parent ends when either of them has.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec

from peers import trainer
from peers.trainer import TrainerConfig
from swarm.net.lifeline import die_with_parent
from swarm.node import __main__ as node
from swarm.node.config import NodeConfig
from swarm.node.spawn import make_shared_fd
from tests.soak.attribution import trace

NODE, TRAINER = "soak-node", "soak-trainer"
"""Names of the processes in /proc/PID/comm; a daemon is called "p2pd"."""
STDERR = "stderr"
"""File in the state folder that takes what the processes print."""


def run_family(
    node_config: NodeConfig, trainer_config: TrainerConfig, parent_pid: int, *, traced: bool = False
) -> NoReturn:
    """Runs a peer in this process, just forked, until its node or its trainer has ended; exits with the node's code."""
    die_with_parent(parent_pid)
    folder = Path(node_config.state)
    folder.mkdir(parents=True, exist_ok=True)
    _redirect(folder / STDERR)
    trainer_end, node_end = socket.socketpair()
    shared = {"parent_pid": os.getpid(), "shared_fd": make_shared_fd()}
    node_config = msgspec.structs.replace(node_config, control_fd=node_end.fileno(), **shared)
    trainer_config = msgspec.structs.replace(trainer_config, control_fd=trainer_end.fileno(), **shared)

    # `detach`, because the configuration carries the descriptor and its process owns it from then on.
    def begin_node() -> None:
        trainer_end.close()
        node_end.detach()
        if traced:
            trace(folder)

    node_pid = _fork(NODE, node.main, node_config, begin_node)
    trainer_pid = _fork(TRAINER, trainer.main, trainer_config, lambda: (node_end.close(), trainer_end.detach()))
    trainer_end.close()
    node_end.close()
    pid, status = os.wait()
    other = trainer_pid if pid == node_pid else node_pid
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _fork(
    name: str, main: Callable[[], None], config: NodeConfig | TrainerConfig, take_end: Callable[[], object]
) -> int:
    pid = os.fork()
    if pid != 0:
        return pid
    take_end()
    Path("/proc/self/comm").write_text(name)
    sys.argv = [name, msgspec.json.encode(config).decode()]
    # What it raises goes past everybody to the interpreter's own end, traceback and exit code included.
    main()
    os._exit(0)


def _redirect(path: Path) -> None:
    """Standard output goes nowhere (the events are in their file as well), standard error to a file."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    errors = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, source in ((0, nowhere), (1, nowhere), (2, errors)):
        os.dup2(source, target)
    os.close(nowhere)
    os.close(errors)
