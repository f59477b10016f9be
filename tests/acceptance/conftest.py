"""Ledgers that are opened in a test are closed after it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.papers import Office, open_office

Opener = Callable[..., Office]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """`open_office`, closed at the end."""
    with ExitStack() as stack:

        def open_one(data: Path, state: Path, *, min_contributors: int = 3) -> Office:
            office = open_office(data, state, min_contributors=min_contributors)
            stack.callback(office.ledger.close)
            return office

        yield open_one
