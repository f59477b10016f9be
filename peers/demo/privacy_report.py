"""The part of the pilot's page that is about privacy: the tier and what it cost, for every peer of any run."""

from peers.demo import page
from peers.demo.page import Html
from peers.demo.result import MaskedWire, PeerPrivacy, PrivacyOfRun, Result, Spending
from peers.demo.summary import averages, peer_names
from swarm.sovereignty.uses import Privacy

_IN_WORDS = {
    Privacy.LICENCE: "tier 1: licence gates and audit",
    Privacy.DP: "tier 2: record-level differential privacy",
    Privacy.SECAGG: "tier 3: masked sums",
    Privacy.ENCLAVE: "tier 4: enclave",
}
_TRADE_OFF = (
    "More noise, or a smaller budget, means less epsilon and a base that learns more slowly; more text and larger "
    "batches hide one record at less cost. Epsilon is cumulative: every further round adds to it. It is each peer's "
    "own word, and holds for one record of its text, not for a person or a member."
)


def in_words(protection: str) -> str:
    """A protection as people call it."""
    return _IN_WORDS.get(Privacy(protection), protection) if protection in set(Privacy) else protection


def privacy_section(result: Result) -> list[Html]:
    """Tier and epsilon of each peer, what the tier cost, and what the wire showed; empty if nothing is known."""
    if result.privacy is None:
        return []
    parts = [
        page.element("h2", "Privacy"),
        page.element("p", f"Of this run: {in_words(result.privacy.tier)}. Self-reported by each peer.", "quiet"),
    ]
    spent = [peer.spent for peer in result.privacy.peers.values() if peer.spent is not None]
    parts += [page.element("p", sentence) for sentence in sentences(result)]
    if spent:
        parts.append(page.element("p", _TRADE_OFF))
    names = peer_names(result)
    rows = [_row(names.get(peer, peer), privacy) for peer, privacy in result.privacy.peers.items()]
    parts.append(page.table(["Peer", "Member", "Protection", *_SPENT_COLUMNS], rows, text_columns=3))
    if result.privacy.masked is not None:
        parts += _masked(result.privacy.masked)
    return parts


_SPENT_COLUMNS = ["ε spent", "of", "δ", "per", "noise", "clipped at", "steps"]


def _row(name: str, peer: PeerPrivacy) -> list[str]:
    protections = " and ".join(in_words(protection) for protection in peer.protections)
    if peer.ended_in_round is not None:
        protections += f"; budget spent, trains no more from round {peer.ended_in_round} on"
    spent = peer.spent
    if spent is None:
        return [name, peer.member, protections, *("-" for _ in _SPENT_COLUMNS)]
    return [
        name,
        peer.member,
        protections,
        f"{spent.epsilon:.3f}",
        f"{spent.budget:g}",
        f"{spent.delta:g}",
        spent.unit,
        f"{spent.noise_multiplier:g}",
        f"{spent.max_grad_norm:g}",
        f"{spent.steps:,}",
    ]


def sentences(result: Result) -> list[str]:
    """What there is to say of privacy in a few words: epsilon, what the wire showed, what the tier cost."""
    if result.privacy is None:
        return []
    said = _cost(result)
    spent = [peer.spent for peer in result.privacy.peers.values() if peer.spent is not None]
    if spent:
        most = max(spent, key=lambda each: each.epsilon)
        said.append(
            f"The most that one peer has spent is epsilon {most.epsilon:.3f} of {most.budget:g} for every {most.unit}, "
            f"at delta {most.delta:g}, in {most.steps:,} steps."
        )
    said += _together(result.privacy)
    wire = result.privacy.masked
    if wire is not None:
        least = min((count for counts in wire.circles.values() for count in counts if count), default=0)
        said.append(
            f"{wire.masked_parts:,} parts of updates went out under masks, {wire.other_parts:,} in any other form, "
            f"{wire.parts_abroad:,} to another region; the smallest sum was that of {least} members."
        )
    return said


def _together(privacy: PrivacyOfRun) -> list[str]:
    """Of members whose peers have trained on the same text, one after another: what they spent adds up."""
    by_member: dict[str, list[Spending]] = {}
    for peer in privacy.peers.values():
        if peer.spent is not None:
            by_member.setdefault(peer.member, []).append(peer.spent)
    return [
        f"{len(spent)} peers of {member} trained on the same text: together at most epsilon "
        f"{sum(each.epsilon for each in spent):.3f} at delta {sum(each.delta for each in spent):g}."
        for member, spent in by_member.items()
        if len(spent) > 1
    ]


def _cost(result: Result) -> list[str]:
    """What the tier cost in bits per byte, against the same members without it."""
    mean = averages(result)
    if mean is None or mean.clear is None:
        return []
    gone, possible = mean.untrained - mean.shared, mean.untrained - mean.clear
    return [
        f"The same members, text and rounds with updates averaged in the clear, without noise or masks, come to "
        f"{mean.clear:.3f} bits per byte; under this tier it is {mean.shared:.3f}, and the untrained base needs "
        f"{mean.untrained:.3f}: {100 * gone / possible:.0f} % of what was to be learnt."
        if possible > 0
        else f"Averaged in the clear it would be {mean.clear:.3f} bits per byte, under this tier {mean.shared:.3f}."
    ]


def _masked(wire: MaskedWire) -> list[Html]:
    ended = ", ".join(f"{count} x {code}" for code, count in wire.ended.items()) or "none"
    rows = [
        ["Parts of updates under masks, 16 bits per element", f"{wire.masked_parts:,}"],
        ["Their bytes", f"{wire.masked_bytes:,}"],
        ["Parts of updates of any other size", f"{wire.other_parts:,}"],
        ["Parts of updates that left their region", f"{wire.parts_abroad:,}"],
        ["Self-masks, first sent or passed on", f"{wire.self_masks:,}"],
        ["Sums that came to nothing, as their peers say", ended],
        *(
            [f"Members in the sum of {region}, by round", " ".join(map(str, counts))]
            for region, counts in wire.circles.items()
        ),
    ]
    return [page.element("p", "What the wire showed, by every peer's ledger:"), page.table(["", ""], rows)]
