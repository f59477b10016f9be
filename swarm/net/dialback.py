"""Can others dial this peer? It asks peers that it can reach to dial it back, and goes by what most of them found.

Nothing is guessed from addresses: a private one may be reachable for everybody in the run, a public one for nobody.
Whoever is asked dials only the host that the question came from, so that nobody can be made to knock elsewhere. A peer
in the asker's own network finds it reachable when the world does not: therefore most of those asked have to.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from swarm.errors import ProtocolError
from swarm.net.lanes import Ticket

MAX_PORTS = 4
MAX_QUESTION_BYTES = 8192
DIAL_LIMIT_S = 2.0
_GREETING = b"/multistream/1.0.0\n"
_GREETING_BYTES = bytes([len(_GREETING)]) + _GREETING
"""What every libp2p node says first: multistream-select's name with its length before it."""


class AskDialBack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The question, over an authenticated stream."""

    ports: tuple[int, ...]
    """Where the asker's libp2p listens."""
    lane: Ticket
    """For the asker's lanes; only its ports are dialled, at the host the question came from."""

    def check(self) -> None:
        """Raises ProtocolError if it asks for more than a dial or two."""
        ports = (*self.ports, *(port for _, port in self.lane.addresses))
        if len(self.ports) > MAX_PORTS or not all(0 < port < 2**16 for port in ports):
            raise ProtocolError("a question to dial back to no port, or to too many")


class DialledBack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer."""

    host: str
    """Where the question came from, as its receiver sees it: the asker itself, or the NAT it is behind."""
    has_libp2p: bool
    """Whether a libp2p node answers there at one of the ports."""
    has_lane: bool
    """Whether the asker itself, proven by its ticket, answers there at the lanes' port."""


@dataclass(frozen=True)
class Verdict:
    """What a peer believes about itself."""

    is_dialable: bool
    has_lane: bool
    """False, though dialable: parts go to it over libp2p, at several times the processor time."""
    host: str
    """Where most others see it; empty while nobody was asked."""
    asked: int


def verdict(answers: Sequence[DialledBack]) -> Verdict | None:
    """What follows from the answers; None if there is none. Ties say no: who cannot be dialled owns nothing."""
    if not answers:
        return None
    hosts = [answer.host for answer in answers]
    return Verdict(
        is_dialable=2 * sum(answer.has_libp2p for answer in answers) > len(answers),
        has_lane=2 * sum(answer.has_libp2p and answer.has_lane for answer in answers) > len(answers),
        host=max(sorted(set(hosts)), key=hosts.count),
        asked=len(answers),
    )


async def answers_libp2p(host: str, port: int) -> bool:
    """Whether a libp2p node, whichever, answers there."""
    try:
        async with asyncio.timeout(DIAL_LIMIT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(_GREETING_BYTES)
                return await reader.readexactly(len(_GREETING_BYTES)) == _GREETING_BYTES
            finally:
                writer.close()
    except (TimeoutError, OSError, asyncio.IncompleteReadError):
        return False
