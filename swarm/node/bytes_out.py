"""What has gone to whom since this node started, by the ledger's own totals, as an event of each round."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from swarm import events
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import DIRECTORY
from swarm.net.web import is_service
from swarm.sovereignty.ledger import Ledger
from swarm.state.records import Decided

MOST_RECIPIENTS_TOLD = 64
"""In one event; in a larger swarm the rest is in the ledger."""


@dataclass
class BytesOut:
    """One peer's."""

    ledger: Ledger
    region: str
    """This peer's own."""
    sink: Callable[[events.AnyEvent], None]
    _regions: dict[PeerId, str] = field(default_factory=dict[PeerId, str])
    """Of everybody met, those that have left included: what was sent to them still counts."""

    def report(self, round_number: int, known: Mapping[PeerId, wire.Announcement], last: Decided | None) -> None:
        """What was sent up to the end of a round, most first, with the regions that passports place peers in."""
        self._regions.update({peer: entry.region for peer, entry in known.items()})
        self._regions.update({} if last is None else last.roster.regions)
        sent_to = [
            events.SentTo(peer=peer, region=self._regions.get(PeerId(peer), ""), bytes=count)
            for peer, count in self.ledger.sent_to.most_common()
            if peer != DIRECTORY and not is_service(peer)
        ]
        self.sink(
            events.BytesOut(
                round=round_number,
                by_kind={kind.value: count for kind, count in self.ledger.totals.items()},
                peers=len(known),
                sent_to=tuple(sent_to[:MOST_RECIPIENTS_TOLD]),
                inside_bytes=sum(each.bytes for each in sent_to if each.region == self.region),
                across_bytes=sum(each.bytes for each in sent_to if each.region not in ("", self.region)),
            )
        )
