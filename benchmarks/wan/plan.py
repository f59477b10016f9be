"""From a topology to the commands that build it: which tool, in which network namespace, with which lines. Pure.

Names of interfaces: `eth0` on a host, `h<i>` and `b<k>` on routers towards host i and region k's router, `border` on a
region's router towards the core, `wan` and `lan` on a host's masquerading router, `tun0` on the core (made by the link
process before these commands run).

Rates: a tbf on both ends of a link, each shaping what leaves through it. Its bucket holds one 64 KB super packet, the
largest unit that offloading hands to a link, so that none is cut up or refused. Its queue drains in `queue_s` or in the
longest round trip, whichever is more: with a shorter one a single TCP stream cannot keep its link busy, a much
longer one would hide congestion behind delay (bufferbloat).

Delay: in the core, packets that come in from a host or a region are sent to `tun0` by policy routing, whatever their
target; those that the link process writes back come in from `tun0` and take the main table to their target.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from benchmarks.wan.topology import NAT_NETWORK, Topology, host_gateway, host_inner, host_network, host_outer

CORE = "core"
TUN = "tun0"
_TUN_TABLE = 100
SUPER_PACKET_BYTES = 66_000
"""64 KB of IP packet and its Ethernet header."""
_TUN_QUEUE_PACKETS = 10_000
"""What may wait while the link process has no CPU; a full queue loses packets, and they are counted."""
_NAT_RULES = 'table ip nat { chain out { type nat hook postrouting priority srcnat; oifname "wan" masquerade; }; }'

_SILENCE = 'table ip filter { chain in { type filter hook input priority filter; iifname "wan" ct state new drop; }; }'


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Lines for one tool, run inside one namespace. `sysctl` lines are `path=value` under /proc/sys."""

    namespace: str
    tool: Literal["sysctl", "ip", "tc", "nft"]
    lines: tuple[str, ...]


def host_name(host: int) -> str:
    """Name of the host's namespace."""
    return f"host{host}"


def router_name(border: int) -> str:
    """Name of the namespace of a region's router."""
    return f"router{border}"


def router_of(topology: Topology, host: int) -> str:
    """Name of the namespace that the host's link leads to."""
    border = topology.border_index(host)
    return CORE if border is None else router_name(border)


def host_link(host: int) -> str:
    """The interface towards the host, on its router."""
    return f"h{host}"


def border_link(border: int) -> str:
    """The interface towards a region, on the core."""
    return f"b{border}"


def namespaces(topology: Topology) -> tuple[str, ...]:
    """Every namespace the lab needs, the core first."""
    hosts = tuple(host_name(index) for index in range(len(topology.hosts)))
    nats = tuple(_nat_name(index) for index, host in enumerate(topology.hosts) if host.nat)
    routers = tuple(router_name(index) for index in range(len(topology.borders)))
    return (CORE, *routers, *nats, *hosts)


def tools(topology: Topology) -> tuple[str, ...]:
    """The programs that must be installed."""
    return ("ip", "tc", "nft") if any(host.nat for host in topology.hosts) else ("ip", "tc")


def steps(topology: Topology, path_of: Callable[[str], str]) -> tuple[Step, ...]:
    """Everything to run, in order. `path_of` gives the file that stands for a namespace."""
    hosts = range(len(topology.hosts))
    return (
        *(_start(name) for name in namespaces(topology)),
        Step(namespace=CORE, tool="ip", lines=tuple(_tun_lines())),
        *(step for index in range(len(topology.borders)) for step in _border(topology, index, path_of)),
        *(step for index in hosts for step in _host(topology, index, path_of)),
    )


def _start(name: str) -> Step:
    """A namespace of its own: it routes, speaks IPv4 only, and takes packets from wherever they come."""
    settings = (
        "net/ipv4/ip_forward=1",
        "net/ipv4/conf/all/rp_filter=0",
        "net/ipv4/conf/default/rp_filter=0",
        "net/ipv4/conf/all/send_redirects=0",
        "net/ipv4/conf/default/send_redirects=0",
        "net/ipv6/conf/all/disable_ipv6=1",
        "net/ipv6/conf/default/disable_ipv6=1",
    )
    return Step(namespace=name, tool="sysctl", lines=settings)


def _tun_lines() -> Iterator[str]:
    yield "link set lo up"
    yield f"link set {TUN} txqueuelen {_TUN_QUEUE_PACKETS} mtu 1500 up"
    yield f"route add default dev {TUN} table {_TUN_TABLE}"


def _border(topology: Topology, index: int, path_of: Callable[[str], str]) -> Iterator[Step]:
    router, border = router_name(index), topology.borders[index]
    core_address, router_address = f"10.78.{index}.1", f"10.78.{index}.2"
    yield Step(
        namespace=CORE, tool="ip", lines=_pair(border_link(index), "border", path_of(router), f"{core_address}/30")
    )
    yield Step(namespace=CORE, tool="ip", lines=(_delayed(border_link(index)),))
    yield Step(namespace=router, tool="ip", lines=_far_end("border", f"{router_address}/30", core_address))
    yield _shape(topology, CORE, border_link(index), border.rate_bps)
    yield _shape(topology, router, "border", border.rate_bps)


def _host(topology: Topology, index: int, path_of: Callable[[str], str]) -> Iterator[Step]:
    host, border = topology.hosts[index], topology.border_index(index)
    router = router_of(topology, index)
    # Where the link with the host's rate ends: at the host, or at the router it hides behind.
    edge, device = (_nat_name(index), "wan") if host.nat else (host_name(index), "eth0")
    gateway = str(host_gateway(index))
    yield Step(namespace=router, tool="ip", lines=_pair(host_link(index), device, path_of(edge), f"{gateway}/24"))
    if border is None:
        yield Step(namespace=CORE, tool="ip", lines=(_delayed(host_link(index)),))
    else:
        yield Step(namespace=CORE, tool="ip", lines=(f"route add {host_network(index)} via 10.78.{border}.2",))
    yield Step(namespace=edge, tool="ip", lines=_far_end(device, f"{host_outer(index)}/24", gateway))
    yield _shape(topology, router, host_link(index), host.rate_bps)
    yield _shape(topology, edge, device, host.rate_bps)
    if host.nat:
        inside = host_name(index)
        yield Step(namespace=edge, tool="ip", lines=_pair("lan", "eth0", path_of(inside), f"{NAT_NETWORK[1]}/24"))
        yield Step(
            namespace=inside,
            tool="ip",
            lines=_far_end("eth0", f"{host_inner(index, nat=True)}/24", str(NAT_NETWORK[1])),
        )
        yield Step(namespace=edge, tool="nft", lines=(_NAT_RULES, _SILENCE) if host.silent else (_NAT_RULES,))


def _pair(near: str, far: str, far_namespace: str, address: str) -> tuple[str, ...]:
    """A link, its near end with an address; no address of a link comes twice."""
    return (
        f"link add {near} type veth peer name {far} netns {far_namespace}",
        f"address add {address} dev {near}",
        f"link set {near} up",
    )


def _far_end(device: str, address: str, gateway: str) -> tuple[str, ...]:
    return (
        "link set lo up",
        f"address add {address} dev {device}",
        f"link set {device} up",
        f"route add default via {gateway}",
    )


def _delayed(device: str) -> str:
    return f"rule add iif {device} lookup {_TUN_TABLE}"


def _shape(topology: Topology, namespace: str, device: str, rate_bps: int) -> Step:
    queue_s = max(topology.queue_s, topology.longest_round_trip_s())
    limit_bytes = SUPER_PACKET_BYTES + round(rate_bps / 8 * queue_s)
    line = f"qdisc add dev {device} root tbf rate {rate_bps}bit burst {SUPER_PACKET_BYTES} limit {limit_bytes}"
    return Step(namespace=namespace, tool="tc", lines=(line,))


def _nat_name(host: int) -> str:
    return f"nat{host}"
