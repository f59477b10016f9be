"""Bytes over every link, counted by its interfaces and read from outside; parsing only.

An interface counts a super packet once, with one header: packets on a real wire would carry about 3.7 % more (54 bytes
of Ethernet, IP and TCP for 1,448 of content). The rates of the lab count every header.
"""

from dataclasses import dataclass

_RECEIVED, _RECEIVE_DROPPED, _SENT, _SEND_DROPPED = 0, 3, 8, 11


@dataclass(frozen=True, slots=True)
class Traffic:
    """One link, seen from its edge: a host, or a region."""

    out_bytes: int
    in_bytes: int

    def since(self, before: "Traffic") -> "Traffic":
        return Traffic(self.out_bytes - before.out_bytes, self.in_bytes - before.in_bytes)


@dataclass(frozen=True, slots=True)
class Counters:
    """The whole lab at one instant."""

    hosts: tuple[Traffic, ...]
    borders: tuple[Traffic, ...]
    core_drops: int
    """Packets lost because the link process did not keep up: above zero, the machine was too slow for the lab."""

    def since(self, before: "Counters") -> "Counters":
        return Counters(
            tuple(now.since(then) for now, then in zip(self.hosts, before.hosts, strict=True)),
            tuple(now.since(then) for now, then in zip(self.borders, before.borders, strict=True)),
            self.core_drops - before.core_drops,
        )


def traffic_from_router(net_dev: str, interface: str) -> Traffic:
    """The edge's traffic, from the router's end of its link: what the router received is what the edge sent.

    `net_dev` is the text of /proc/net/dev.
    """
    fields = _fields(net_dev, interface)
    return Traffic(out_bytes=fields[_RECEIVED], in_bytes=fields[_SENT])


def drops(net_dev: str, interface: str) -> int:
    """Packets that found the interface's queue full."""
    fields = _fields(net_dev, interface)
    return fields[_RECEIVE_DROPPED] + fields[_SEND_DROPPED]


def _fields(net_dev: str, interface: str) -> list[int]:
    for line in net_dev.splitlines():
        name, colon, numbers = line.partition(":")
        if colon and name.strip() == interface:
            return [int(number) for number in numbers.split()]
    raise KeyError(interface)
