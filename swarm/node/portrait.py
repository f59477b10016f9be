"""What a peer publishes of itself: its own events through the projection, signed as a `Summary`.

Two tiers, as in an export of the ledger: figures for everybody who may watch, recipients for the consortium only.
"""

import msgspec

from swarm import events
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.state.run import Run
from swarm.telemetry.facts import Facts, PeerFacts, apply, value_of
from swarm.telemetry.seen import Logged, Recipient

ROUNDS_TOLD = 12
ROUNDS_KEPT = 2 * ROUNDS_TOLD
"""Those that this peer was not in are kept, and not told."""


class Portrait:
    """One peer's figures; give `see` every event of its node."""

    def __init__(self, run: Run, identity: Identity) -> None:
        self._run_id = run.id
        self._identity = identity
        self._facts = Facts()

    def see(self, at: float, event: events.AnyEvent) -> None:
        """Takes one event; `at` in Unix seconds."""
        facts = apply(self._facts, Logged(peer=self._identity.peer_id, at=at, event=event))
        told = sorted(facts.rounds)[-ROUNDS_KEPT:]
        self._facts = msgspec.structs.replace(facts, rounds={number: facts.rounds[number] for number in told})

    def sealed(self, now_s: float, *, may_tell_loss: bool, with_links: bool) -> wire.Sealed:
        """The signed summary as of now."""
        mine = self._facts.peers.get(self._identity.peer_id, PeerFacts())
        links: tuple[Recipient, ...] = value_of(mine, "links", tuple, ()) if with_links else ()
        by_kind: dict[str, int] = value_of(mine, "bytes_by_kind", dict, {})
        summary = wire.Summary(
            run_id=self._run_id,
            at=now_s,
            round=value_of(mine, "round", int, 0),
            isolation=value_of(mine, "isolation", str, ""),
            reach=value_of(mine, "reach", str, ""),
            tokens_per_s=value_of(mine, "tokens_per_s", float, 0.0),
            loss=value_of(mine, "loss", float, None) if may_tell_loss else None,
            sent=tuple(wire.KindSent(kind, count) for kind, count in by_kind.items()),
            refused=mine.refused,
            denied=mine.denied,
            aborted=mine.aborted,
            epsilon=value_of(mine, "epsilon", float, None),
            delta=value_of(mine, "delta", float, 0.0),
            rounds=tuple(self._rounds(may_tell_loss=may_tell_loss)),
            links=tuple(wire.SentTo(PeerId(link.peer), link.region, link.bytes) for link in links),
        )
        return wire.seal(self._identity, summary)

    def _rounds(self, *, may_tell_loss: bool) -> list[wire.RoundTold]:
        """The last rounds this peer committed, oldest first."""
        told: list[wire.RoundTold] = []
        for number in sorted(self._facts.rounds)[-ROUNDS_TOLD:]:
            part = self._facts.rounds[number].parts.get(self._identity.peer_id)
            if part is not None and part.committed:
                told.append(
                    wire.RoundTold(
                        round=number,
                        at=part.at,
                        seconds=part.seconds or 0.0,
                        form_s=part.form_s,
                        reduce_s=part.reduce_s,
                        inside_bytes=part.inside_bytes,
                        across_bytes=part.across_bytes,
                        loss=part.loss if may_tell_loss else None,
                        tokens=part.tokens,
                    )
                )
        return told
