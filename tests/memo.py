"""Many simulated peers in one process check the same signatures: here each is checked once."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from unittest.mock import patch

from swarm.charter import admission, passport
from swarm.net.wire import codec


@contextmanager
def memoised() -> Generator[None]:
    """Checks each signature once, though every simulated peer checks it: two thirds of the time otherwise."""
    with (
        patch("swarm.net.wire.codec.verify", lru_cache(2**16)(codec.verify)),
        patch("swarm.charter.admission.signature_holds", lru_cache(2**10)(admission.signature_holds)),
        patch("swarm.charter.passport.decode", lru_cache(2**10)(passport.decode)),
    ):
        yield
