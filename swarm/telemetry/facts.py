"""The projection: a pure fold of everything seen into what is known. Dashboard, terminal, metrics and peers' own
summaries read what comes of it (`view.py`).

    facts = apply(facts, seen)

Order does not matter: of two statements about one thing the later one holds (ties by content), counts add up, and of a
round's parts what is known stays known. Old rounds are forgotten by number. Does not judge, verify or fetch.
"""

import math
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from swarm import events
from swarm.telemetry.seen import Announced, Decided, Logged, Parted, Recipient, Remark, RoundPart, RunSeen, Seen, Told

KEPT_ROUNDS = 240
KEPT_PEERS = 4096

T = TypeVar("T")
D = TypeVar("D")


class Stamp(msgspec.Struct, frozen=True):
    """A value and when it was true."""

    at: float
    value: object


class PeerFacts(msgspec.Struct, frozen=True):
    """One peer: the latest of every field, and counts of what its own log says."""

    seen_at: float = 0.0
    latest: dict[str, Stamp] = {}
    """By field: region, member, phase, round, tokens_per_s, loss, isolation, reach, bytes_by_kind, links, epsilon,
    delta, and what it tells of its counts."""
    refused: int = 0
    denied: int = 0
    aborted: int = 0


class RoundFacts(msgspec.Struct, frozen=True):
    """One round, committed or open."""

    decided: Decided | None = None
    """The verified record, if there is one."""
    peers: tuple[str, ...] = ()
    """The roster as a log gives it, for as long as there is no record."""
    contributors: tuple[str, ...] = ()
    voters: int = 0
    attempt: int = 0
    digests: frozenset[str] = frozenset()
    """State digests that logs report; more than one, or another than the record's, means that bases differ."""
    accepting: float | None = None
    """Voices on the quality of a base that was found worse, and so not taken; likewise `rejecting`."""
    rejecting: float | None = None
    parts: dict[str, RoundPart] = {}


class Facts(msgspec.Struct, frozen=True):
    """All that is known."""

    run: RunSeen | None = None
    peers: dict[str, PeerFacts] = {}
    rounds: dict[int, RoundFacts] = {}
    remarks: dict[str, Remark] = {}
    parted: dict[int, int] = {}
    """By chain, the last round before it parted from the one that was followed until then."""


def apply(facts: Facts, seen: Seen) -> Facts:
    """What is known after one more thing was seen."""
    match seen:
        case RunSeen():
            newest = seen if facts.run is None else max(facts.run, seen, key=lambda each: (each.at, _content(each)))
            return replace(facts, run=newest)
        case Logged():
            return _logged(facts, seen)
        case Announced():
            return _with_peer(
                facts,
                seen.peer,
                seen.at,
                region=seen.region,
                member=seen.member,
                phase=seen.phase,
                round=seen.round,
                tokens_per_s=seen.tokens_per_s,
                reach=seen.reach,
            )
        case Decided():
            known = facts.rounds.get(seen.round, RoundFacts())
            best = (
                seen
                if known.decided is None
                else max(known.decided, seen, key=lambda each: (each.chain, _content(each)))
            )
            facts = _with_round(facts, seen.round, replace(known, decided=best))
            for seat in seen.seats:  # a place in a record is true for good, and anything newer is truer
                facts = _with_peer(facts, seat.peer, 0.0, region=seat.region, member=seat.member)
            return facts
        case Parted():
            return replace(facts, parted=facts.parted | {seen.chain: seen.round})
        case Told():
            return _told(facts, seen)
        case Remark():
            known_remark = facts.remarks.get(seen.subject)
            best_remark = (
                seen if known_remark is None else max(known_remark, seen, key=lambda each: (each.at, each.text))
            )
            return replace(facts, remarks=facts.remarks | {seen.subject: best_remark})


def _logged(facts: Facts, seen: Logged) -> Facts:
    at, peer, event = seen.at, seen.peer, seen.event
    match event:
        case events.NodeStarted():
            return _with_peer(facts, peer, at, region=event.region, member=event.member, phase="joining")
        case events.Reachable():
            return _with_peer(facts, peer, at, reach=event.how)
        case events.TrainerReady():
            return _with_peer(facts, peer, at, isolation=event.isolation, phase="training")
        case events.TrainingProgress():
            return _with_peer(facts, peer, at, loss=finite(event.loss), tokens_per_s=event.tokens_per_s)
        case events.UpdateReady():
            facts = _with_part(facts, event.round, peer, RoundPart(at=at, loss=finite(event.loss), tokens=event.tokens))
            return _with_peer(facts, peer, at, loss=finite(event.loss), phase="ready")
        case events.PrivacySpent():
            return _with_peer(facts, peer, at, epsilon=event.epsilon, delta=event.delta)
        case events.AttemptStarted():
            return _with_attempt(facts, event.round, event.attempt)
        case events.RosterReady():
            return _with_part(facts, event.round, peer, RoundPart(at=at, form_s=event.form_s))
        case events.Reduced():
            return _with_part(facts, event.round, peer, RoundPart(at=at, reduce_s=event.reduce_s))
        case events.RoundCommitted():
            facts = _with_part(facts, event.round, peer, RoundPart(at=at, committed=True, seconds=event.seconds))
            return _with_peer(_committed(facts, event), peer, at, round=event.round, phase="training")
        case events.StateReady():
            return _with_peer(facts, peer, at, round=event.round)
        case events.CaughtUp():
            return _with_peer(facts, peer, at, round=event.to_round)
        case events.BytesOut():
            return _traffic(facts, peer, at, event)
        case events.FrameRefused():
            return _counted(facts, peer, at, refused=1)
        case events.RoundRejected():
            part = RoundPart(at=at, committed=True, seconds=event.seconds)
            facts = _with_part(_rejected(facts, event), event.round, peer, part)
            return _with_peer(facts, peer, at, round=event.round, phase="training")
        case events.UpdateDenied():
            return _counted(facts, peer, at, denied=1)
        case events.RoundAborted():
            return _counted(facts, peer, at, aborted=1)
        case events.NodeStopped():
            return _with_peer(facts, peer, at, phase="stopped", tokens_per_s=0.0)
        case _:
            return _with_peer(facts, peer, at)


def _committed(facts: Facts, event: events.RoundCommitted) -> Facts:
    known = facts.rounds.get(event.round, RoundFacts())
    merged = replace(
        known,
        peers=max(known.peers, event.peers),
        contributors=max(known.contributors, event.contributors),
        voters=max(known.voters, event.voters),
        attempt=max(known.attempt, event.attempt),
        digests=known.digests | {event.state_digest},
    )
    return _with_round(facts, event.round, merged)


def _rejected(facts: Facts, event: events.RoundRejected) -> Facts:
    known = facts.rounds.get(event.round, RoundFacts())
    merged = replace(
        known,
        peers=max(known.peers, event.peers),
        attempt=max(known.attempt, event.attempt),
        digests=known.digests | {event.state_digest},
        accepting=event.accepting if known.accepting is None else max(known.accepting, event.accepting),
        rejecting=event.rejecting if known.rejecting is None else max(known.rejecting, event.rejecting),
    )
    return _with_round(facts, event.round, merged)


def _traffic(facts: Facts, peer: str, at: float, event: events.BytesOut) -> Facts:
    links = tuple(Recipient(peer=each.peer, region=each.region, bytes=each.bytes) for each in event.sent_to)
    facts = _with_peer(facts, peer, at, bytes_by_kind=event.by_kind, links=links)
    part = RoundPart(at=at, inside_bytes=event.inside_bytes, across_bytes=event.across_bytes)
    return _with_part(facts, event.round, peer, part) if links else facts


def _told(facts: Facts, seen: Told) -> Facts:
    facts = _with_peer(
        facts,
        seen.peer,
        seen.at,
        round=seen.round,
        isolation=seen.isolation,
        tokens_per_s=seen.tokens_per_s,
        bytes_by_kind=seen.bytes_by_kind,
        told_refused=seen.refused,
        told_denied=seen.denied,
        told_aborted=seen.aborted,
    )
    optional = {"reach": seen.reach, "loss": seen.loss, "links": seen.links}
    facts = _with_peer(facts, seen.peer, seen.at, **{name: value for name, value in optional.items() if value})
    if seen.epsilon is not None:
        facts = _with_peer(facts, seen.peer, seen.at, epsilon=seen.epsilon, delta=seen.delta)
    for number, part in seen.rounds.items():
        facts = _with_part(facts, number, seen.peer, part)
    return facts


def _with_peer(facts: Facts, peer: str, at: float, **fields: object) -> Facts:
    """The latest of each field; of two at the same instant the larger in content, so that order does not matter."""
    known = facts.peers.get(peer)
    if known is None:
        if len(facts.peers) >= KEPT_PEERS:
            return facts
        known = PeerFacts()
    latest = known.latest
    for name, value in fields.items():
        old = latest.get(name)
        if old is None or at > old.at or (at == old.at and _content(value) > _content(old.value)):
            latest = latest | {name: Stamp(at, value)}
    return replace(facts, peers=facts.peers | {peer: replace(known, seen_at=max(known.seen_at, at), latest=latest)})


def _counted(facts: Facts, peer: str, at: float, *, refused: int = 0, denied: int = 0, aborted: int = 0) -> Facts:
    facts = _with_peer(facts, peer, at)
    known = facts.peers.get(peer)
    if known is None:
        return facts
    more = replace(
        known, refused=known.refused + refused, denied=known.denied + denied, aborted=known.aborted + aborted
    )
    return replace(facts, peers=facts.peers | {peer: more})


def _with_attempt(facts: Facts, number: int, attempt: int) -> Facts:
    known = facts.rounds.get(number, RoundFacts())
    return _with_round(facts, number, replace(known, attempt=max(known.attempt, attempt)))


def _with_part(facts: Facts, number: int, peer: str, part: RoundPart) -> Facts:
    """What is known of a peer's part stays known; of two values the larger holds."""
    known = facts.rounds.get(number, RoundFacts())
    merged = part if peer not in known.parts else _merged(known.parts[peer], part)
    facts = _with_round(facts, number, replace(known, parts=known.parts | {peer: merged}))
    return _with_peer(facts, peer, part.at)


def _merged(one: RoundPart, other: RoundPart) -> RoundPart:
    # The commit is when a round happened; until then the newest thing known of it is.
    commits = [part.at for part in (one, other) if part.committed]
    return RoundPart(
        at=min(commits) if commits else max(one.at, other.at),
        committed=one.committed or other.committed,
        seconds=_larger(one.seconds, other.seconds),
        form_s=_larger(one.form_s, other.form_s),
        reduce_s=_larger(one.reduce_s, other.reduce_s),
        inside_bytes=_larger(one.inside_bytes, other.inside_bytes),
        across_bytes=_larger(one.across_bytes, other.across_bytes),
        loss=_larger(one.loss, other.loss),
        tokens=max(one.tokens, other.tokens),
    )


def _with_round(facts: Facts, number: int, round_facts: RoundFacts) -> Facts:
    """The newest rounds by number."""
    rounds: dict[int, RoundFacts] = facts.rounds | {number: round_facts}
    if len(rounds) > KEPT_ROUNDS:
        del rounds[min(rounds)]
    return replace(facts, rounds=rounds)


def record_of(facts: Facts, number: int) -> Decided | None:
    """The record of a round, unless its chain was left before it."""
    known = facts.rounds[number].decided
    if known is None or any(chain > known.chain and number > last for chain, last in facts.parted.items()):
        return None
    return known


def value_of(peer: PeerFacts, name: str, kind: type[T], default: D) -> T | D:
    """A field of a peer, or `default` where it is not known."""
    stamp = peer.latest.get(name)
    return stamp.value if stamp is not None and isinstance(stamp.value, kind) else default


def finite(number: float | None) -> float | None:
    """A number, or None for what is none (an unknown loss is a NaN)."""
    return number if number is not None and math.isfinite(number) else None


def _larger(one: T | None, other: T | None) -> T | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)  # pyright: ignore[reportArgumentType]  # numbers both


def _content(value: object) -> bytes:
    """Any order that depends on nothing but the value."""
    return _ENCODER.encode(value)


_ENCODER = msgspec.json.Encoder(order="deterministic")
