"""Entering through any address that answers: one suffices, and the dead ones cost half a second, not seven."""

import asyncio
import socket
from collections.abc import Sequence

import pytest
from multiaddr import Multiaddr

from swarm.errors import NetworkError
from swarm.net.memory import run_virtual
from swarm.net.transport import StreamLostError
from swarm.node.entry import MAX_REMEMBERED_DIALLED, REACH_LIMIT_S, enter, in_turn, port_of, with_port
from tests.simulation import peer_identity


def address(number: int) -> Multiaddr:
    return Multiaddr(f"/ip4/127.0.0.1/tcp/{4000 + number}/p2p/{peer_identity(number).peer_id}")


class Dialler:
    """Some addresses answer after a while, some refuse, the rest are silent for ever."""

    def __init__(self, answers_s: dict[int, float], refusing: Sequence[int] = ()) -> None:
        self._answers_s = {str(address(number)): seconds for number, seconds in answers_s.items()}
        self._refusing = {str(address(number)) for number in refusing}
        self.dialled: list[str] = []

    async def connect(self, addresses: Sequence[Multiaddr]) -> None:
        self.dialled += map(str, addresses)
        for one in map(str, addresses):
            if one in self._answers_s:
                await asyncio.sleep(self._answers_s[one])
                return
        if all(str(one) in self._refusing for one in addresses):
            raise StreamLostError("refused")
        await asyncio.sleep(1e6)


def entered(dialler: Dialler, typed: Sequence[int], met: Sequence[int] = ()) -> tuple[list[Multiaddr], str, float]:
    async def main() -> tuple[list[Multiaddr], str, float]:
        began_s = asyncio.get_running_loop().time()
        remembered = {peer_identity(number).peer_id: [address(number)] for number in met}
        reached, told = await enter(dialler, [address(number) for number in typed], remembered)
        return reached, told, asyncio.get_running_loop().time() - began_s

    return run_virtual(main())


def test_any_one_of_several_addresses_suffices_and_soon() -> None:
    reached, told, seconds = entered(Dialler({2: 0.3}), [0, 1, 2])
    assert (reached, told) == ([address(2)], "")
    assert seconds < 1.0


def test_all_that_answer_soon_are_entered_through_in_the_order_typed_after_those_met() -> None:
    reached, told, _ = entered(Dialler({0: 0.3, 1: 0.1, 5: 0.2}), [0, 1], [5])
    assert (reached, told) == ([address(5), address(0), address(1)], "")


def test_with_every_typed_address_dead_it_enters_through_peers_met_before_and_says_so() -> None:
    reached, told, seconds = entered(Dialler({5: 0.2}, refusing=[0]), [0], [4, 5])
    assert reached == [address(5)]
    assert told.startswith(f"cannot reach {address(0)}: entering through 1 of the peers met before")
    assert seconds < 1.0


def test_with_nobody_there_a_peer_that_has_met_others_waits_for_them() -> None:
    reached, told, seconds = entered(Dialler({}), [0], [4, 5])
    assert reached == []
    assert "nor the 2 peers met last: waiting for one of 2 met before" in told
    assert seconds <= REACH_LIMIT_S + 0.1


def test_with_nobody_there_and_nobody_met_it_is_an_error_that_names_all_addresses() -> None:
    with pytest.raises(NetworkError, match="is it running") as caught:
        entered(Dialler({}, refusing=[0, 1]), [0, 1])
    assert str(address(0)) in str(caught.value) and str(address(1)) in str(caught.value)


def test_a_first_peer_that_is_given_nobody_to_join_needs_nobody() -> None:
    assert entered(Dialler({}), [])[:2] == ([], "")
    assert entered(Dialler({5: 0.1}), [], [5])[:2] == ([address(5)], "")


def test_a_long_memory_is_not_dialled_whole() -> None:
    dialler = Dialler({0: 0.1})
    entered(dialler, [0], range(1, MAX_REMEMBERED_DIALLED + 9))
    assert len(dialler.dialled) == MAX_REMEMBERED_DIALLED + 1


@pytest.mark.parametrize("met", [0, 1, 8, 9, 64])
def test_everybody_remembered_gets_a_turn_and_few_are_dialled_at_once(met: int) -> None:
    remembered = {peer_identity(number).peer_id: [address(number)] for number in range(met)}
    goes = [in_turn(remembered, number) for number in range(8)]
    assert max(map(len, goes)) <= MAX_REMEMBERED_DIALLED
    assert {peer for go in goes for peer in go} == set(remembered)


def test_the_port_of_the_last_time_is_taken_again_where_any_would_do_and_it_is_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        any_port, fixed = Multiaddr("/ip4/127.0.0.1/tcp/0"), Multiaddr("/ip4/127.0.0.1/tcp/31337")
        assert with_port([any_port], port) == [any_port], "in use"
    assert with_port([any_port, fixed], port) == [Multiaddr(f"/ip4/127.0.0.1/tcp/{port}"), fixed]
    assert with_port([any_port], 0) == [any_port]
    assert port_of([Multiaddr("/ip4/1.2.3.4/udp/5/quic-v1"), fixed]) == 31337 and port_of([]) == 0
