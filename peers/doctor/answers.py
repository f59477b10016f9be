"""What follows from what others answered about this machine's clock and about dialling it."""

from collections.abc import Sequence

from peers.doctor.finding import Finding, good, note, wrong
from swarm import events


def clock(heard: Sequence[events.AnyEvent]) -> Finding:
    """From what a `ClockCheck` said."""
    for event in heard:
        if isinstance(event, events.ClockWrong):
            which = "ahead" if event.ahead_s > 0 else "behind"
            return wrong("clock", f"{abs(event.ahead_s):.0f} s {which} of theirs", "set it by NTP (timedatectl)")
    return good("clock", "agrees with theirs")


def reachability(heard: Sequence[events.AnyEvent]) -> Finding:
    """From what a `Reaching` said."""
    for event in heard:
        if isinstance(event, events.Reachable):
            if event.how == "direct":
                return good("reachability", f"others can dial this machine at {event.host}")
            if event.how == "direct, without lanes":
                remedy = "open all TCP ports, or traffic goes through p2pd at several times the processor time"
                return note("reachability", f"others can dial {event.host}, but not the port for lanes", remedy)
            if event.how == "behind NAT":
                remedy = "it takes part through relays and owns no chunk; forward a TCP port and --listen on it"
                return note("reachability", f"others cannot dial {event.host}", remedy)
    return note("reachability", "nobody dialled back", "join through a peer of this version")
