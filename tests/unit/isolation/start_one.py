"""Starts one confined command, on request below a filter that makes this kernel look like a poorer one. A program.

    python start_one.py {"command", "data", "scratch", "programs", "required", "absent": {system call: error number}}

Prints what the launcher told the node (one JSON line, or nothing), then its exit code and what it complained of.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from swarm.isolation import kernel, seccomp
from swarm.isolation.start import Scratch, start_confined


def main() -> None:
    asked = json.loads(sys.argv[1])
    kernel.keep_from_new_privileges()
    for name, code in asked["absent"].items():
        seccomp.install(seccomp.refusing([name], code))
    node, trainer = socket.socketpair()
    process = start_confined(
        asked["command"],
        control_fd=trainer.fileno(),
        shared_fd=os.memfd_create("shared"),
        programs=asked["programs"],
        data=[Path(path) for path in asked["data"]],
        scratch=Scratch(Path(asked["scratch"])),
        output=subprocess.DEVNULL,
        errors=subprocess.PIPE,
        required=asked["required"],
    )
    trainer.close()
    print(process.pid, flush=True)
    _, errors = process.communicate()
    told = node.recv(65536)
    print(json.dumps([json.loads(told) if told else None, process.returncode, errors.decode()]))


if __name__ == "__main__":
    main()
