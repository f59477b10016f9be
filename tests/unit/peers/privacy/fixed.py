"""Random bytes that are the same in every test run, in the operating system's place."""

import hashlib
from collections.abc import Callable


def fixed_entropy(seed: str) -> Callable[[int], bytes]:
    """A source of bytes that repeats itself in the next test run, and never within one."""
    calls = 0

    def entropy(count: int) -> bytes:
        nonlocal calls
        calls += 1
        return hashlib.shake_256(f"{seed}/{calls}".encode()).digest(count)

    return entropy
