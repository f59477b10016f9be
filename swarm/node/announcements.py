"""What a peer makes of the directory: entries that hold. Where they come from is not its business."""

from swarm.charter import passport as passports
from swarm.charter.admission import Admitted
from swarm.charter.passport import Passport
from swarm.errors import PassportError, ProtocolError
from swarm.identity.remembered import Remembered
from swarm.net import wire
from swarm.sovereignty.privacy import fault_of
from swarm.state.run import Run

MAX_CLOCK_SKEW_S = 600.0
"""An entry further from this machine's clock is passed over; who made it may still join."""
_REMEMBERED = 2
"""Entries of one peer whose signatures are remembered: most are the same bytes at the next look."""


def read_announcement(data: bytes, run: Run, now_s: float) -> wire.Announcement | None:
    """An announcement that its peer signed under an admitted passport and that is fresh, or None."""
    found = _verified(data, run)
    if found is None:
        return None
    entry, passport = found
    is_fresh = abs(now_s - entry.at) <= MAX_CLOCK_SKEW_S and passport.not_before <= now_s < passport.expires
    return entry if is_fresh else None


def read_old_announcement(data: bytes, run: Run) -> wire.Announcement | None:
    """As `read_announcement`, of any age: good for nothing but the addresses in it."""
    found = _verified(data, run)
    return None if found is None else found[0]


def _verified(data: bytes, run: Run) -> tuple[wire.Announcement, Passport] | None:
    try:
        sealed = wire.decode(data, wire.Sealed)
    except ProtocolError:
        return None
    return _remembered(sealed.author, sealed, run)


def _judge(sealed: wire.Sealed, run: Run) -> tuple[wire.Announcement, Passport] | None:
    """What does not depend on the time."""
    try:
        entry = wire.unseal(sealed, wire.Announcement)
        signed = passports.decode(entry.passport)
    except (ProtocolError, PassportError):
        return None
    if entry.run_id != run.id or entry.peer != sealed.author or not 0 <= entry.round <= wire.MAX_ROUND:
        return None
    if not 0 <= entry.tokens <= wire.MAX_ROUND or not 0 <= entry.tokens_per_s <= wire.MAX_ROUND:
        return None
    if entry.privacy is not None and fault_of(entry.privacy) is not None:
        return None
    verdict = run.rules.admit(signed, entry.peer, signed.payload.not_before)
    if not isinstance(verdict, Admitted) or verdict.passport.role != "peer":
        return None
    return entry, verdict.passport


_remembered = Remembered(_judge, authors=wire.MAX_PEERS, each=_REMEMBERED)
