"""Whether a peer can be dialled: who is asked dials one host only, and most of those asked decide."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net.dialback import _GREETING_BYTES, MAX_PORTS, AskDialBack, DialledBack, Verdict, answers_libp2p, verdict
from swarm.net.lanes import Lanes, Ticket

HOST = "127.0.0.1"
ASKER, ASKED = PeerId("asker"), PeerId("asked")
NEAR, FAR = "192.168.1.2", "198.51.100.7"


def test_nobody_asked_is_no_verdict() -> None:
    assert verdict([]) is None


def test_a_peer_in_the_same_network_alone_does_not_make_one_dialable() -> None:
    answers = [DialledBack(NEAR, True, True), DialledBack(FAR, False, False)]
    assert verdict(answers) == Verdict(False, False, NEAR, 2)
    assert verdict([*answers, DialledBack(FAR, False, False)]) == Verdict(False, False, FAR, 3)


def test_open_for_libp2p_and_closed_for_lanes_is_told_apart() -> None:
    assert verdict([DialledBack(FAR, True, False)]) == Verdict(True, False, FAR, 1)
    assert verdict([DialledBack(FAR, True, True)]) == Verdict(True, True, FAR, 1)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=9))
def test_most_of_those_asked_decide_in_any_order(found: list[tuple[bool, bool]]) -> None:
    answers = [DialledBack(FAR, libp2p, lane) for libp2p, lane in found]
    told = verdict(answers)
    assert told is not None and told == verdict(answers[::-1])
    assert told.is_dialable == (sum(libp2p for libp2p, _ in found) > len(found) / 2)
    assert told.is_dialable or not told.has_lane


@pytest.mark.parametrize("ports", [(0,), (2**16,), (-1,), tuple(range(1, MAX_PORTS + 2))])
def test_a_question_that_asks_for_too_much_is_refused(ports: tuple[int, ...]) -> None:
    with pytest.raises(ProtocolError, match="dial back"):
        AskDialBack(ports, Ticket(b"", b"", ())).check()
    AskDialBack((31337,), Ticket(b"", b"", ((FAR, 31338),))).check()


def test_only_a_libp2p_node_counts_as_one() -> None:
    async def scenario() -> None:
        for words, expected in ((_GREETING_BYTES, True), (b"HTTP/1.1 400 Bad Request\r\n\r\n", False), (b"", False)):
            server = await asyncio.start_server(_saying(words), HOST, 0)
            port = server.sockets[0].getsockname()[1]
            assert await answers_libp2p(HOST, port) is expected
            server.close()
            await server.wait_closed()
        assert not await answers_libp2p(HOST, port), "nobody listens there any more"

    asyncio.run(scenario())


def test_only_the_peer_that_gave_the_ticket_proves_its_lanes() -> None:
    async def scenario() -> None:
        asker, stranger, asked = Lanes(), Lanes(), Lanes()
        try:
            await asker.listen([HOST])
            await stranger.listen([HOST])
            ticket, other = asker.ticket_for(ASKED, []), stranger.ticket_for(ASKED, [])
            assert await asked.answers(ASKER, ticket, HOST), "before anybody serves, too"
            elsewhere = msgspec.structs.replace(ticket, addresses=(("203.0.113.1", ticket.addresses[0][1]),))
            assert await asked.answers(ASKER, elsewhere, HOST), "the host comes from who is asked"
            forged = msgspec.structs.replace(ticket, secret=bytes(len(ticket.secret)))
            assert not await asked.answers(ASKER, forged, HOST)
            misled = msgspec.structs.replace(ticket, addresses=other.addresses)
            assert not await asked.answers(ASKER, misled, HOST), "somebody else's lanes"
        finally:
            for lanes in (asker, stranger, asked):
                await lanes.close()
        assert not await asked.answers(ASKER, ticket, HOST), "its door is closed"

    asyncio.run(scenario())


def _saying(words: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await writer.drain()
        writer.close()

    return say
