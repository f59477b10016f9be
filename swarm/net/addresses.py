"""Addresses people type: parsed and checked by py-multiaddr, with a sentence for what is wrong."""

import re

from multiaddr import Multiaddr
from multiaddr.exceptions import Error as MultiaddrError

from swarm.errors import UsageError
from swarm.identity.peer_id import PeerId, parse_peer_id

_HOSTS = {"ip4", "ip6", "dns", "dns4", "dns6", "dnsaddr"}
_PEER_AT_END = re.compile(r"/p2p/[^/]+/?$")
_EXAMPLE = "/ip4/203.0.113.7/tcp/31337/p2p/12D3KooW..."


def parse_join_address(text: str) -> Multiaddr:
    """An address to join: host, port and the peer id that must answer there. Raises UsageError."""
    address = _parse(text, _EXAMPLE)
    try:
        peer_of(address)
    except ValueError as error:
        raise UsageError(f"{text!r} does not name the peer to join ({error}); it should look like {_EXAMPLE}") from None
    parts = {protocol.name: value for protocol, value in address.items()}
    if not _HOSTS & parts.keys():
        raise UsageError(f"{text!r} names no host; it should look like {_EXAMPLE}")
    if not {parts.get("tcp"), parts.get("udp")} - {None, "0"}:  # port 0 is for listening
        raise UsageError(f"{text!r} names no port; it should look like {_EXAMPLE}")
    return address


def parse_listen_address(text: str) -> Multiaddr:
    """An address to listen on. Raises UsageError."""
    address = _parse(text, "/ip4/0.0.0.0/tcp/31337")
    names = [protocol.name for protocol in address.protocols()]
    if names[:1] not in (["ip4"], ["ip6"]) or "tcp" not in names or "p2p" in names:
        raise UsageError(f"cannot listen on {text!r}; it should look like /ip4/0.0.0.0/tcp/31337")
    return address


def peer_of(address: Multiaddr) -> PeerId:
    """The peer id an address ends in. Raises ValueError when it names none."""
    parts = list(address.items())
    if not parts or parts[-1][0].name != "p2p":
        raise ValueError("it does not end in /p2p/<peer id>")
    return parse_peer_id(str(parts[-1][1]))


def host_of(address: Multiaddr) -> str | None:
    """The IP address in a multiaddr; None if it names a host in another way."""
    return next((str(value) for protocol, value in address.items() if protocol.name in ("ip4", "ip6")), None)


def without_peer(text: str) -> str:
    """The same address without the /p2p part at its end, which is how a dialler wants it."""
    return _PEER_AT_END.sub("", text)


def _parse(text: str, example: str) -> Multiaddr:
    try:
        return Multiaddr(text)
    except (MultiaddrError, ValueError) as error:
        cause = " ".join(str(error).split())  # it quotes what was typed, line breaks included
        raise UsageError(f"{text!r} is not a multiaddr ({cause}); it should look like {example}") from None
