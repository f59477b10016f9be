"""A wide-area network as data: hosts, their regions, borders between regions, distances. Nothing is built here.

    host 0 --rate--\\                                      /--rate-- host 2
    host 1 --rate--- router DE --border-- core --border--- router JP --rate-- host 3
                                           |
                                   every packet waits here for the one-way delay

A region with a border has a router of its own: its hosts reach each other through it without delay, and share the
border link to everybody else. Hosts of a region without a border hang on the core directly and are as far from each
other as from anybody.
"""

from ipaddress import IPv4Address, IPv4Network

import msgspec

MAX_HOSTS = 200
HOST_NETWORK = IPv4Network("10.77.0.0/16")
"""Host `i` lives in 10.77.i.0/24, so the third byte of an address names the host."""

NAT_NETWORK = IPv4Network("192.168.77.0/24")
"""Behind every masquerading router."""


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """One machine at the edge."""

    rate_bps: int
    """Each way."""
    region: str = "DE"
    nat: bool = False
    """Behind a masquerading router of its own: it can dial and cannot be dialled."""
    silent: bool = False
    """That router drops whoever dials it, as those of most homes do, instead of refusing."""


class Border(msgspec.Struct, frozen=True, kw_only=True):
    """The one link that all hosts of a region share to the rest of the world."""

    region: str
    rate_bps: int
    """Each way."""


class Distance(msgspec.Struct, frozen=True, kw_only=True):
    """An exception to the topology's `round_trip_s`, for two regions; the same region twice means inside it."""

    regions: tuple[str, str]
    round_trip_s: float


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the lab builds."""

    hosts: tuple[Host, ...]
    borders: tuple[Border, ...] = ()
    round_trip_s: float = 0.0
    distances: tuple[Distance, ...] = ()
    loss: float = 0.0
    """Probability that a packet is lost in the core; above zero, the core sees packets of the wire's size only."""
    seed: int = 0
    """Of the losses."""
    queue_s: float = 0.2
    """How long a full queue in front of a link takes to drain."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.hosts) <= MAX_HOSTS:
            raise ValueError(f"a lab has 1 to {MAX_HOSTS} hosts, not {len(self.hosts)}")
        if any(rate <= 0 for rate in self.rates_bps):
            raise ValueError("every rate must be above zero")
        if not 0 <= self.loss < 1:
            raise ValueError(f"loss is a probability below 1, not {self.loss}")
        regions = {host.region for host in self.hosts}
        named = {border.region for border in self.borders} | {name for one in self.distances for name in one.regions}
        if not named <= regions:
            raise ValueError(f"no host is in region {', '.join(sorted(named - regions))}")
        if len({border.region for border in self.borders}) < len(self.borders):
            raise ValueError("a region has one border at most")

    def slower(self, divisor: int) -> "Topology":
        """The same network with every rate divided: distances and queues, in seconds, stay."""
        hosts = tuple(msgspec.structs.replace(host, rate_bps=host.rate_bps // divisor) for host in self.hosts)
        borders = tuple(msgspec.structs.replace(one, rate_bps=one.rate_bps // divisor) for one in self.borders)
        return msgspec.structs.replace(self, hosts=hosts, borders=borders)

    @property
    def rates_bps(self) -> tuple[int, ...]:
        return tuple(link.rate_bps for link in (*self.hosts, *self.borders))

    def one_way_s(self, source: int, target: int) -> float:
        """How long the core holds a packet from host `source` to host `target`."""
        pair = {self.hosts[source].region, self.hosts[target].region}
        for distance in self.distances:
            if set(distance.regions) == pair:
                return distance.round_trip_s / 2
        return self.round_trip_s / 2

    def longest_round_trip_s(self) -> float:
        return max((self.round_trip_s, *(distance.round_trip_s for distance in self.distances)))

    def border_index(self, host: int) -> int | None:
        """Which border the host's packets cross, or None when it hangs on the core."""
        for index, border in enumerate(self.borders):
            if border.region == self.hosts[host].region:
                return index
        return None


def host_network(host: int) -> IPv4Network:
    """The host's link to its router."""
    return IPv4Network((HOST_NETWORK[host * 256], 24))


def host_gateway(host: int) -> IPv4Address:
    """The router's address on the host's link."""
    return host_network(host)[1]


def host_outer(host: int) -> IPv4Address:
    """The address that others see: the host's own, or that of its masquerading router."""
    return host_network(host)[2]


def host_inner(host: int, *, nat: bool) -> IPv4Address:
    """The address of the host's own interface."""
    return NAT_NETWORK[2] if nat else host_outer(host)
