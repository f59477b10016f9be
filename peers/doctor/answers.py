"""What follows from what others answered about this machine's clock and about dialling it."""

from collections.abc import Sequence

from peers.doctor.finding import Finding, good, note, wrong
from swarm import events
from swarm.node.clocks import MAX_ERROR_S


def clock(heard: Sequence[events.AnyEvent], answers: int) -> Finding:
    """From what a `ClockCheck` said, with so many answers."""
    if not answers:
        return note("clock", "nobody said what time it is", "join through a peer of this version")
    for event in heard:
        if isinstance(event, events.ClockWrong):
            which = "ahead of" if event.ahead_s > 0 else "behind"
            found = f"{abs(event.ahead_s):.0f} s {which} {'theirs' if answers > 1 else 'theirs, or theirs is wrong'}"
            return wrong("clock", found, "`timedatectl set-ntp true`, or set it by hand (`date -s`)")
    return good("clock", f"within {MAX_ERROR_S:.0f} s of theirs")


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
