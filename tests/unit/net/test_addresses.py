"""Addresses people type: the right ones parse, all others are a UsageError that says what is wrong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multiaddr import Multiaddr

from swarm.errors import UsageError
from swarm.net.addresses import parse_join_address, parse_listen_address, peer_of, without_peer
from tests.simulation import peer_identity

PEER, RELAY = peer_identity(1).peer_id, peer_identity(2).peer_id
PLAIN = f"/ip4/203.0.113.7/tcp/31337/p2p/{PEER}"
RELAYED = f"/ip4/203.0.113.7/tcp/31337/p2p/{RELAY}/p2p-circuit/p2p/{PEER}"
WORDS = (
    "ip4",
    "ip6",
    "dns4",
    "tcp",
    "udp",
    "p2p",
    "p2p-circuit",
    "quic-v1",
    "unix",
    "127.0.0.1",
    "::1",
    "80",
    "x",
    PEER,
)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        RELAYED,
        f"/ip6/::1/tcp/1/p2p/{PEER}",
        f"/dns4/example.org/tcp/443/p2p/{PEER}",
        f"/ip4/127.0.0.1/udp/1/quic-v1/p2p/{PEER}",
    ],
)
def test_an_address_to_join_names_the_peer_at_its_end(text: str) -> None:
    address = parse_join_address(text)
    assert peer_of(address) == PEER
    assert f"{without_peer(str(address))}/p2p/{PEER}" == str(address)


def test_an_address_without_a_peer_stays_as_it_is() -> None:
    assert without_peer("/ip4/127.0.0.1/tcp/1") == "/ip4/127.0.0.1/tcp/1"
    circuit = f"/ip4/203.0.113.7/tcp/1/p2p/{RELAY}/p2p-circuit"
    assert without_peer(circuit) == circuit


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "does not name the peer"),
        ("/", "does not name the peer"),
        ("localhost:31337", "not a multiaddr"),
        ("/ip4/1.2.3.4\n/x", "not a multiaddr"),
        ("/ip4/203.0.113.7/tcp/31337", "does not name the peer"),
        ("/ip4/203.0.113.7/tcp/31337/p2p/", "not a multiaddr"),
        (
            "/ip4/203.0.113.7/tcp/31337/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
            "not the peer id of an Ed25519",
        ),
        (f"/ip4/999.0.113.7/tcp/31337/p2p/{PEER}", "not a multiaddr"),
        (f"/ip4/203.0.113.7/tcp/99999/p2p/{PEER}", "not a multiaddr"),
        (f"/ip4/203.0.113.7/tcp/0/p2p/{PEER}", "names no port"),
        (f"/ip4/203.0.113.7/p2p/{PEER}", "names no port"),
        (f"/tcp/31337/p2p/{PEER}", "names no host"),
        (f"/p2p/{PEER}", "names no host"),
        (f"/ip4/203.0.113.7/tcp/1/p2p/{PEER}/tcp/5", "does not end in"),
    ],
)
def test_what_is_wrong_with_an_address_is_said(text: str, cause: str) -> None:
    with pytest.raises(UsageError, match=cause) as caught:
        parse_join_address(text)
    assert "\n" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(
    text=st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=9).map(lambda parts: "/" + "/".join(parts))
)
def test_whatever_is_typed_is_an_address_or_a_usage_error(text: str) -> None:
    for parse in (parse_join_address, parse_listen_address):
        try:
            address = parse(text)
        except UsageError as error:
            assert "\n" not in str(error)
            continue
        assert isinstance(address, Multiaddr)


@pytest.mark.parametrize("text", ["/ip4/0.0.0.0/tcp/31337", "/ip6/::/tcp/0", "/ip4/127.0.0.1/tcp/0"])
def test_listening(text: str) -> None:
    assert str(parse_listen_address(text)) == text


@pytest.mark.parametrize(
    "text", ["/ip4/0.0.0.0", "/tcp/1", "/dns4/example.org/tcp/1", PLAIN, "/ip4/0.0.0.0/udp/1", "x"]
)
def test_not_listening(text: str) -> None:
    with pytest.raises(UsageError):
        parse_listen_address(text)
