"""`python -m swarm.node CONFIG_JSON`: a node process. Not for people: `tapestry peer` and `swarm.join` start it."""

import sys

import msgspec

from swarm.net.lifeline import die_with_parent, ignore_terminal_signals
from swarm.node.config import NodeConfig


def main() -> None:
    config = msgspec.json.decode(sys.argv[1], type=NodeConfig)
    die_with_parent(config.parent_pid)
    ignore_terminal_signals()
    from swarm.node.process import run_node  # after the lifeline: importing takes seconds

    sys.exit(run_node(config))


if __name__ == "__main__":
    main()
