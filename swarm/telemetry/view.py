"""What is drawn: the view of a swarm, a frozen model made from the facts, which all that shows something reads.

Pure: `view(facts, now_s)`. Figures are what peers say of themselves unless a row says that its record was verified.
Bytes are payload bytes since the sender's node started.
"""

from collections.abc import Iterable, Sequence

import msgspec

from swarm.telemetry.facts import Facts, PeerFacts, RoundFacts, record_of, value_of
from swarm.telemetry.seen import RoundPart, RunSeen

SHOWN_ROUNDS = 120
SHOWN_LINKS = 24
"""Peers in the matrix of links; in a larger swarm it is by region."""
SILENT_AFTER_S = 45.0
"""Announcements live for 30 s: who has said nothing for longer is shown as silent."""
UNPLACED = "elsewhere"
OTHERS = "others"
"""In the matrix of links: bootstrap nodes and observers together."""
_TOLD = frozenset({"isolation", "bytes_by_kind"})
"""What is known of a peer from its log or its summary only."""


class RegionRow(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    jurisdictions: tuple[str, ...]
    peers: int
    live: int
    members: int
    tokens_per_s: float
    loss: float | None
    """Of the last round with one, mean over its peers, weighted by tokens."""
    inside_bytes: int | None
    across_bytes: int | None
    """Sent by its peers that tell; None where none does."""


class PeerRow(msgspec.Struct, frozen=True, kw_only=True):
    peer: str
    name: str
    """The end of the peer id, which is what tells peers apart."""
    region: str
    member: str
    state: str
    """"training", "ready", "joining", "leaving", "stopped", or "silent"."""
    tells: bool
    """Whether more is known of it than the directory and the records show: what it sent and refused, its isolation."""
    round: int
    tokens_per_s: float
    loss: float | None
    isolation: str
    reach: str
    sent_bytes: int
    refused: int
    denied: int
    aborted: int
    epsilon: float | None
    delta: float | None
    seen_s_ago: float


class RoundRow(msgspec.Struct, frozen=True, kw_only=True):
    round: int
    committed: bool
    verified: bool
    """A record with a quorum's signatures was checked here."""
    apart: bool
    """Peers report different bases: this must not happen."""
    at: float
    attempt: int
    peers: int
    counted: int
    votes: int | None
    """Signatures in the record; None where only logs were read."""
    voters: int
    form_s: float | None
    reduce_s: float | None
    seconds: float | None
    """From a peer's update to its new base; the slowest peer's, as with the other two."""
    tokens: int
    inside_bytes: int | None
    across_bytes: int | None
    """Sent in this round by the peers that tell; None where none does."""
    loss: dict[str, float]
    """By region."""
    state_digest: str
    accepting: float | None
    rejecting: float | None
    """Voices on quality, where members found the candidate worse: the base stayed as it was. None in other rounds."""


class Links(msgspec.Struct, frozen=True, kw_only=True):
    """Who sent how much to whom."""

    names: tuple[str, ...]
    regions: tuple[str, ...]
    bytes: tuple[tuple[int, ...], ...]
    """[from][to]."""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    peers: int
    live: int
    telling: int
    """Peers whose own figures are known, to which the counts below are confined."""
    tokens_per_s: float
    sent_bytes: int
    inside_bytes: int
    across_bytes: int
    by_kind: dict[str, int]
    refused: int
    denied: int
    aborted: int
    epsilon: float | None
    """The most that any peer has spent."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    at: float
    run: RunSeen | None
    head: int
    """The last committed round; where no round is shown, the last that a peer says it has."""
    state_digest: str
    totals: Totals
    regions: tuple[RegionRow, ...]
    peers: tuple[PeerRow, ...]
    rounds: tuple[RoundRow, ...]
    """Oldest first."""
    links: Links
    remarks: tuple[str, ...]


def view(facts: Facts, now_s: float) -> View:
    """The view at `now_s` (Unix seconds; for logs of a run that has ended, the time of the last line)."""
    peers = tuple(sorted((_peer_row(name, each, now_s) for name, each in facts.peers.items()), key=_by_region))
    regions_of = {row.peer: row.region for row in peers}
    rounds = tuple(_round_rows(facts, regions_of))
    committed = [row for row in rounds if row.committed]
    live = [row for row in peers if row.state not in ("silent", "stopped")]
    crossings = _crossings(facts, regions_of)
    return View(
        at=now_s,
        run=facts.run,
        head=max((row.round for row in committed or peers), default=0),
        state_digest=committed[-1].state_digest if committed else "",
        totals=Totals(
            peers=len(peers),
            live=len(live),
            telling=sum(row.tells for row in peers),
            tokens_per_s=sum(row.tokens_per_s for row in live),
            sent_bytes=sum(row.sent_bytes for row in peers),
            inside_bytes=sum(inside for inside, _ in crossings.values()),
            across_bytes=sum(across for _, across in crossings.values()),
            by_kind=_by_kind(facts.peers.values()),
            refused=sum(row.refused for row in peers),
            denied=sum(row.denied for row in peers),
            aborted=sum(row.aborted for row in peers),
            epsilon=max((row.epsilon for row in peers if row.epsilon is not None), default=None),
        ),
        regions=_region_rows(facts, peers, committed, crossings),
        peers=peers,
        rounds=rounds,
        links=_links(facts, peers),
        remarks=tuple(each.text for _, each in sorted(facts.remarks.items()) if each.text),
    )


def _peer_row(peer: str, facts: PeerFacts, now_s: float) -> PeerRow:
    phase = value_of(facts, "phase", str, "joining")
    is_silent = now_s - facts.seen_at > SILENT_AFTER_S and phase != "stopped"
    return PeerRow(
        peer=peer,
        name=peer[-6:],
        region=value_of(facts, "region", str, "") or UNPLACED,
        member=value_of(facts, "member", str, ""),
        state="silent" if is_silent else phase,
        tells=not _TOLD.isdisjoint(facts.latest),
        round=value_of(facts, "round", int, 0),
        tokens_per_s=0.0 if is_silent else float(value_of(facts, "tokens_per_s", float, 0.0)),
        loss=value_of(facts, "loss", float, None),
        isolation=value_of(facts, "isolation", str, ""),
        reach=value_of(facts, "reach", str, ""),
        sent_bytes=sum(value_of(facts, "bytes_by_kind", dict, {}).values()),
        refused=max(facts.refused, value_of(facts, "told_refused", int, 0)),
        denied=max(facts.denied, value_of(facts, "told_denied", int, 0)),
        aborted=max(facts.aborted, value_of(facts, "told_aborted", int, 0)),
        epsilon=value_of(facts, "epsilon", float, None),
        delta=value_of(facts, "delta", float, None),
        seen_s_ago=max(0.0, now_s - facts.seen_at),
    )


def _by_region(row: PeerRow) -> tuple[bool, str, str, str]:
    return row.region == UNPLACED, row.region, row.member, row.peer


def _round_rows(facts: Facts, regions_of: dict[str, str]) -> Iterable[RoundRow]:
    before: dict[str, tuple[int, int, int]] = {}
    for number in sorted(facts.rounds)[-SHOWN_ROUNDS:]:
        each = facts.rounds[number]
        parts = each.parts.values()
        inside, across = _sent_in(number, each, before)
        record = record_of(facts, number)
        digests = each.digests if record is None else each.digests | {record.state_digest}
        yield RoundRow(
            round=number,
            committed=bool(digests) or any(part.committed for part in parts),
            verified=record is not None,
            apart=len(digests) > 1,
            at=min((part.at for part in parts if part.committed), default=0.0),
            attempt=each.attempt if record is None else record.attempt,
            peers=len(each.peers) if record is None else len(record.seats),
            counted=len(each.contributors) if record is None else sum(seat.counted for seat in record.seats),
            votes=None if record is None else len(record.votes),
            voters=each.voters if record is None else record.voters,
            form_s=_most(part.form_s for part in parts),
            reduce_s=_most(part.reduce_s for part in parts),
            seconds=_most(part.seconds for part in parts),
            tokens=sum(part.tokens for part in parts) if record is None else sum(seat.tokens for seat in record.seats),
            inside_bytes=inside,
            across_bytes=across,
            loss=_losses(each.parts, regions_of),
            state_digest=min(digests, default="") if record is None else record.state_digest,
            accepting=each.accepting if record is None else record.accepting,
            rejecting=each.rejecting if record is None else record.rejecting,
        )


def _sent_in(number: int, each: RoundFacts, before: dict[str, tuple[int, int, int]]) -> tuple[int | None, int | None]:
    """Bytes of one round, from totals; `before` holds each peer's last round with its totals and is moved on.

    Of a peer whose totals after the round before are not known, it is not known what it sent in this one.
    """
    inside = across = 0
    is_known = False
    for peer, part in each.parts.items():
        if part.inside_bytes is None or part.across_bytes is None:
            continue
        last_round, *last = before.get(peer, (0, 0, 0))
        now = (part.inside_bytes, part.across_bytes)
        before[peer] = (number, *now)
        if now < tuple(last):  # a node that has just been started
            last_round, last = number - 1, [0, 0]
        if last_round == number - 1:
            inside, across, is_known = inside + now[0] - last[0], across + now[1] - last[1], True
    return (inside, across) if is_known else (None, None)


def _losses(parts: dict[str, RoundPart], regions_of: dict[str, str]) -> dict[str, float]:
    sums: dict[str, tuple[float, float]] = {}
    for peer, part in parts.items():
        if part.loss is not None:
            region, weight = regions_of.get(peer, UNPLACED), float(max(part.tokens, 1))
            total, weights = sums.get(region, (0.0, 0.0))
            sums[region] = total + part.loss * weight, weights + weight
    return {region: total / weights for region, (total, weights) in sorted(sums.items())}


def _region_rows(
    facts: Facts, peers: Sequence[PeerRow], rounds: Sequence[RoundRow], crossings: dict[str, tuple[int, int]]
) -> tuple[RegionRow, ...]:
    named = {} if facts.run is None else facts.run.regions
    names = sorted({*named, *(row.region for row in peers)} - {UNPLACED})
    rows: list[RegionRow] = []
    for name in [*names, *([UNPLACED] if any(row.region == UNPLACED for row in peers) else [])]:
        here = [row for row in peers if row.region == name]
        live = [row for row in here if row.state not in ("silent", "stopped")]
        tells = any(row.tells for row in here)
        losses = [row.loss[name] for row in rounds if name in row.loss]
        rows.append(
            RegionRow(
                name=name,
                jurisdictions=named.get(name, ()),
                peers=len(here),
                live=len(live),
                members=len({row.member for row in here if row.member}),
                tokens_per_s=sum(row.tokens_per_s for row in live),
                loss=losses[-1] if losses else None,
                inside_bytes=sum(crossings[row.peer][0] for row in here) if tells else None,
                across_bytes=sum(crossings[row.peer][1] for row in here) if tells else None,
            )
        )
    return tuple(rows)


def _crossings(facts: Facts, regions_of: dict[str, str]) -> dict[str, tuple[int, int]]:
    """By peer, what it has sent inside its region and across a border: its newest round's totals."""
    found: dict[str, tuple[int, int]] = dict.fromkeys(facts.peers, (0, 0))
    for number in sorted(facts.rounds):
        for peer, part in facts.rounds[number].parts.items():
            if part.inside_bytes is not None and part.across_bytes is not None:
                found[peer] = (part.inside_bytes, part.across_bytes)
    return found


def _links(facts: Facts, peers: Sequence[PeerRow]) -> Links:
    """Between peers, or between regions where there are too many peers to draw."""
    sent: dict[tuple[str, str], int] = {}
    regions_of = {row.peer: row.region for row in peers}
    names = {row.peer: row.name for row in peers}
    seated = {peer for each in facts.rounds.values() for peer in each.peers}
    is_by_region = len(peers) > SHOWN_LINKS
    for row in peers:
        for link in value_of(facts.peers[row.peer], "links", tuple, ()):
            source, target = row.peer, link.peer
            if is_by_region:
                source, target = row.region, regions_of.get(target, link.region or UNPLACED)
            elif target in names or target in seated:
                names.setdefault(target, target[-6:])
                regions_of.setdefault(target, link.region or UNPLACED)
            else:
                target = OTHERS
            sent[source, target] = sent.get((source, target), 0) + link.bytes
    if not sent:
        return Links(names=(), regions=(), bytes=())
    order = sorted({name for pair in sent for name in pair}) if is_by_region else [*names]
    if any(target == OTHERS for _, target in sent):
        order.append(OTHERS)
    return Links(
        names=tuple(names.get(each, each) for each in order),
        regions=tuple(order if is_by_region else (regions_of.get(peer, UNPLACED) for peer in order)),
        bytes=tuple(tuple(sent.get((source, target), 0) for target in order) for source in order),
    )


def _by_kind(peers: Iterable[PeerFacts]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for peer in peers:
        for kind, count in value_of(peer, "bytes_by_kind", dict, {}).items():
            totals[kind] = totals.get(kind, 0) + count
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
