"""How far a trainer is isolated, in words: a ladder on which each level includes those below it.

A level is what was done to the process, reported by the launcher that did it. It is the machine's own statement: nobody
else can check it. The same names stand in policies (`isolation = "confined"`).
"""

from collections.abc import Mapping

NONE = "none"
FILTERED = "system call filter"
"""No socket can be made, no other process's memory reached; also where namespaces are forbidden."""
NETWORK_NAMESPACE = "network namespace"
"""And an empty network, in a user namespace of its own."""
NAMESPACES = "namespaces"
"""And a view of the file system and of the processes that holds its own only."""
CONFINED = "confined"
"""And Landlock: what it may read and write, enforced a second time by other means."""

LADDER = (NONE, FILTERED, NETWORK_NAMESPACE, NAMESPACES, CONFINED)

UNCONFINED = (NONE, "the training script is the user's own process")


def judge(missing: Mapping[str, str], done: str) -> tuple[str, str]:
    """The level reached and a sentence on it.

    Args:
        missing: levels whose own measure failed, each with its cause and remedy.
        done: what was done if nothing is missing.
    """
    reached = NONE
    for level in LADDER[1:]:
        if level in missing:
            break
        reached = level
    return reached, done if not missing else "; ".join(missing[level] for level in LADDER if level in missing)


def is_enough(reached: str, required: str) -> bool:
    return LADDER.index(reached) >= LADDER.index(required)


def refusal(reached: str, detail: str, required: str) -> str:
    """Why nothing is trained on this machine."""
    return f'the policy demands isolation "{required}", this machine reaches "{reached}": {detail}'
