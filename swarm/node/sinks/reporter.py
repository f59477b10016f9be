"""Tells one metrics service the figures of this peer's rounds, beside them: a service never holds up a round.

Lines wait while the service does not answer, at most `MOST_WAITING` of them (the oldest go first); attempts come at
growing intervals. A service that refuses is not asked again. What happens is said once, as a note.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from swarm.net.web import AuditedWeb, WebLostError, WebRefusedError
from swarm.node.sinks.base import Client
from swarm.telemetry.figures import Figures

MOST_WAITING = 1000
MOST_AT_ONCE = 100
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 600.0
END_LIMIT_S = 1.5
"""For the last lines, when the peer ends."""


class Reporter:
    """One service's; `run` is a task of whoever owns it."""

    def __init__(self, name: str, client: Client, web: AuditedWeb, say: Callable[[str], None]) -> None:
        self._name = name
        self._client = client
        self._web = web
        self._say = say
        self._waiting: deque[Figures] = deque(maxlen=MOST_WAITING)
        self._is_due = asyncio.Event()
        self._is_refused = False
        self._is_lost = False

    def tell(self, figures: Figures) -> None:
        """Puts a round's figures in line."""
        if not self._is_refused:
            self._waiting.append(figures)
            self._is_due.set()

    async def run(self) -> NoReturn:
        """Sends what waits, until cancelled. Raises StateError when the ledger cannot be written."""
        pause_s = FIRST_PAUSE_S
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            while self._waiting and not self._is_refused:
                if await self._send_some():
                    pause_s = FIRST_PAUSE_S
                else:
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def end(self) -> None:
        """Sends what still waits and says that no more will come, unless that takes long."""
        try:
            async with asyncio.timeout(END_LIMIT_S):
                while self._waiting and not self._is_refused and await self._send_some():
                    pass
                if not self._is_refused and not self._waiting:
                    await self._client.end(self._web)
        except (TimeoutError, WebLostError, WebRefusedError):
            pass

    async def _send_some(self) -> bool:
        """Whether the oldest lines arrived."""
        lines = [self._waiting[number] for number in range(min(MOST_AT_ONCE, len(self._waiting)))]
        try:
            await self._client.tell(self._web, lines)
        except WebLostError as error:
            if not self._is_lost and not self._is_refused:
                self._say(f"figures for {self._name} wait: {error}")
            self._is_lost = True
            return False
        except WebRefusedError as error:
            self._is_refused = True
            self._waiting.clear()
            self._say(f"no more figures for {self._name}: {error}")
            return False
        if self._is_lost:
            self._say(f"{self._name} answers again")
        self._is_lost = False
        sent = set(map(id, lines))
        while self._waiting and id(self._waiting[0]) in sent:  # some may have gone meanwhile, to make room
            self._waiting.popleft()
        return True
