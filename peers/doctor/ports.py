"""Whether the ports that a peer will listen on are free: each is bound once, and let go."""

from collections.abc import Sequence

from multiaddr import Multiaddr

from peers.doctor.finding import Finding, good, wrong
from swarm.errors import NetworkError
from swarm.net.daemon import check_free


def ports(listen: Sequence[Multiaddr]) -> Finding:
    """The verdict on all of them; the first that cannot be had is named."""
    try:
        check_free(listen)
    except NetworkError as error:
        remedy = "`ss -ltnp` names the program that has a port; ports below 1024 need root or CAP_NET_BIND_SERVICE"
        return wrong("ports", str(error), remedy)
    return good("ports", f"{', '.join(map(str, listen))} can be listened on")
