"""A script that `tapestry peer --trainer` has started: its node runs already, and it was given the socket to it.

The counterpart of `NodeProcess` for such a script: it starts nothing, since a confined process could not.
"""

import os
import socket

from swarm import events
from swarm.errors import UsageError
from swarm.isolation.start import CONTROL_VARIABLE, SHARED_VARIABLE


class GivenNode:
    """The node of the peer that this script trains for."""

    def __init__(self) -> None:
        """Takes the descriptors named in the environment. Raises UsageError when they are none."""
        try:
            self.control = socket.socket(fileno=int(os.environ.pop(CONTROL_VARIABLE)))
            self.shared_fd = int(os.environ.pop(SHARED_VARIABLE))
        except (KeyError, ValueError, OSError):
            raise UsageError(
                f"{CONTROL_VARIABLE} and {SHARED_VARIABLE} are for tapestry peer --trainer to set: unset them"
            ) from None

    def next_event(self, timeout_s: float) -> events.Stamped | None:
        """Nothing: events stay with the node."""
        return None

    def close(self) -> None:
        self.control.close()


def is_given() -> bool:
    """Whether this process was started as a peer's trainer and has not taken its place yet."""
    return CONTROL_VARIABLE in os.environ
