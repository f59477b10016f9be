"""Watches a swarm and takes no part: reads the directory, asks peers for what they publish, and verifies records.

Works on any transport and directory; `observer.py` gives it libp2p. All that it learns goes to one sink as values for
the projection (swarm.telemetry). It announces nothing, keeps nothing for others, and asks for nothing but `Observe`:
no update, result or state can come to it.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import NoReturn

from swarm.charter import passport as passports
from swarm.clock import WallClock
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.calls import Caller
from swarm.net.transport import Directory, StreamLostError
from swarm.node.announcements import read_announcement
from swarm.node.observatory import MAX_SUMMARY_BYTES, MOST_RECORDS, TOO_OFTEN
from swarm.state import records
from swarm.state.chain import Mark
from swarm.state.electorate import few_of
from swarm.state.run import Run
from swarm.telemetry import seen

LOOK_EVERY_S = 2.0
MOST_ASKED = 32
"""Peers asked at each look, others each time."""
_ASK_LIMIT_S = 4.0
_LONGEST_TEXT = 80
_MOST_LISTED = 128
NO_PASSPORT = "admission"
"""Subject of the remark that a stranger is told little."""


class Watcher:
    """One observer's view of a run, brought up to date by `look`."""

    def __init__(
        self,
        *,
        run: Run,
        caller: Caller,
        directory: Directory,
        entries: Sequence[PeerId],
        take: Callable[[seen.Seen], None],
        wall_clock: WallClock,
        connect: Callable[[PeerId, Sequence[str]], Awaitable[None]],
    ) -> None:
        """`entries` are asked besides those in the directory; `connect` dials a peer at its announced addresses."""
        self._run = run
        self._caller = caller
        self._directory = directory
        self._entries = tuple(entries)
        self._take = take
        self._wall_clock = wall_clock
        self._connect = connect
        self._mark = Mark.genesis(run)
        self._heads: dict[PeerId, int] = {}
        """The newest round that each who answers has a record of."""
        self._known: dict[PeerId, wire.Announcement] = {}
        self._dialled: dict[PeerId, tuple[str, ...]] = {}
        self._said: dict[str, str] = {}
        charter = run.charter
        take(
            seen.RunSeen(
                run_id=run.id,
                name=charter.run.name,
                admission=charter.admission.kind,
                min_contributors=charter.reduce.least_members,
                parameters=charter.model.parameters,
                regions={region.name: region.jurisdictions for region in charter.regions},
            )
        )

    async def keep_watching(self) -> NoReturn:
        """Looks again and again, until cancelled."""
        for number in count():
            await self.look(number)
            await asyncio.sleep(LOOK_EVERY_S)
        raise AssertionError("counting has no end")

    async def look(self, number: int = 0) -> None:
        """The directory, then everybody who can be asked; records from one of those that have newer ones."""
        await self._read_directory()
        peers = [*dict.fromkeys((*self._entries, *(p for p, entry in self._known.items() if entry.dialable)))]
        few = few_of(peers, MOST_ASKED, f"{self._caller.peer_id}/{number}")
        ahead = [peer for peer in few if self._heads.get(peer, 0) > self._mark.round]
        source = ahead[number % len(ahead)] if ahead else None
        await asyncio.gather(*(self._ask(peer, self._mark.round + 1 if peer == source else 0) for peer in few))

    # --- the directory ------------------------------------------------------------------------------------------------

    async def _read_directory(self) -> None:
        now_s = self._wall_clock()
        try:
            found = await self._directory.announcements()
        except (TimeoutError, OSError):
            self._remark("directory", "the directory does not answer")
            return
        self._remark("directory", "")
        for data in found:
            entry = read_announcement(data, self._run, now_s)
            if entry is None or self._known.get(entry.peer) == entry:
                continue
            self._known[entry.peer] = entry
            passport = passports.decode(entry.passport).payload
            self._take(
                seen.Announced(
                    peer=entry.peer,
                    at=now_s,  # by this clock: nobody looks silent because its own is slow
                    region=passport.region,
                    member=passport.member,
                    phase=_text(entry.phase),
                    round=max(0, entry.round - 1),
                    tokens_per_s=entry.tokens_per_s,
                    reach="direct" if entry.dialable else "behind NAT",
                )
            )
        await asyncio.gather(*(self._dial(peer, entry) for peer, entry in self._known.items() if entry.dialable))

    async def _dial(self, peer: PeerId, entry: wire.Announcement) -> None:
        if self._dialled.get(peer) == entry.addresses or not entry.addresses:
            return
        self._dialled[peer] = entry.addresses
        try:
            await self._connect(peer, entry.addresses)
        except (StreamLostError, TimeoutError):
            return  # asking it says so

    # --- asking -------------------------------------------------------------------------------------------------------

    async def _ask(self, peer: PeerId, first: int) -> None:
        try:
            stream = await self._caller.open(peer, wire.Observe(first), _ASK_LIMIT_S)
        except StreamLostError:
            self._heads.pop(peer, None)
            return
        try:
            async with asyncio.timeout(_ASK_LIMIT_S * (4 if first else 1)):
                answer = await stream.receive(wire.Observed | wire.Refusal, MAX_SUMMARY_BYTES)
                if isinstance(answer, wire.Refusal):
                    if answer.code != TOO_OFTEN:
                        self._remark(NO_PASSPORT, _refused(_text(answer.reason)))
                    return
                self._remark(NO_PASSPORT, "")
                self._heads[peer] = answer.head
                if answer.summary is not None:
                    self._take(self._read_summary(peer, answer.summary))
                await self._read_records(stream)
        except ProtocolError as error:
            self._remark(f"peer {peer}", f"{peer[-6:]} gave something that does not hold: {_text(str(error))}")
        except (StreamLostError, TimeoutError):
            self._heads.pop(peer, None)
        finally:
            stream.close()

    async def _read_records(self, stream: AuditedStream) -> None:
        """Takes records as long as each follows the one before. Raises ProtocolError for one that does not."""
        for _ in range(MOST_RECORDS + 1):
            answer = await stream.receive(wire.ObservedRecord | wire.Missing, wire.MAX_CONTROL_BYTES)
            if isinstance(answer, wire.Missing):
                return
            if records.round_of(answer.record) != self._mark.round + 1:
                continue  # somebody else's answer was quicker
            decided = self._mark.verify(self._run, answer.record)
            self._take(told_of(decided))
            self._mark = Mark.after(self._run, decided)

    def _read_summary(self, peer: PeerId, sealed: wire.Sealed) -> seen.Told:
        """What a peer says of itself. Raises ProtocolError for what no peer would publish."""
        summary = wire.unseal(sealed, wire.Summary)
        if sealed.author != peer or summary.run_id != self._run.id:
            raise ProtocolError("a summary of another peer or run")
        return told_by(peer, summary, self._wall_clock())

    def _remark(self, subject: str, text: str) -> None:
        if self._said.get(subject, "") != text:
            self._said[subject] = text
            self._take(seen.Remark(subject=subject, at=self._wall_clock(), text=text))


def told_by(peer: PeerId, summary: wire.Summary, now_s: float) -> seen.Told:
    """A signed summary as a value for the projection. Raises ProtocolError for figures that cannot be."""
    numbers = [summary.tokens_per_s, summary.delta, *_given(summary.loss, summary.epsilon)]
    for part in summary.rounds:
        numbers += [part.at, part.seconds, *_given(part.form_s, part.reduce_s, part.loss)]
        numbers += [part.round, part.tokens, *_given(part.inside_bytes, part.across_bytes)]
    numbers += [summary.round, summary.refused, summary.denied, summary.aborted]
    numbers += [each.bytes for each in (*summary.sent, *summary.links)]
    if not all(math.isfinite(number) and 0 <= number <= wire.MAX_ROUND * wire.MAX_ROUND for number in numbers):
        raise ProtocolError("a summary with a figure that is out of range")
    if max(len(summary.rounds), len(summary.links), len(summary.sent)) > _MOST_LISTED:
        raise ProtocolError("a summary that is too long")
    return seen.Told(
        peer=peer,
        at=now_s,
        round=summary.round,
        isolation=_text(summary.isolation),
        reach=_text(summary.reach),
        tokens_per_s=float(summary.tokens_per_s),
        loss=summary.loss,
        bytes_by_kind={_text(each.kind): each.bytes for each in summary.sent},
        refused=summary.refused,
        denied=summary.denied,
        aborted=summary.aborted,
        epsilon=summary.epsilon,
        delta=summary.delta,
        rounds={
            part.round: seen.RoundPart(
                at=part.at,
                committed=True,
                seconds=part.seconds,
                form_s=part.form_s,
                reduce_s=part.reduce_s,
                inside_bytes=part.inside_bytes,
                across_bytes=part.across_bytes,
                loss=part.loss,
                tokens=part.tokens,
            )
            for part in summary.rounds
        },
        links=tuple(
            seen.Recipient(peer=_text(each.peer), region=_text(each.region), bytes=each.bytes) for each in summary.links
        ),
    )


def told_of(decided: records.Decided) -> seen.Decided:
    """A verified record as a value for the projection."""
    value, roster = decided.value, decided.roster
    counted = {number for bitmap in value.contributors for number in roster.contributors(bitmap)}
    record = wire.decode(decided.record, records.Record)
    return seen.Decided(
        round=value.round,
        attempt=roster.ballot.attempt,
        leader=roster.ballot.leader,
        seats=tuple(
            seen.Seat(
                peer=seat.peer,
                region=seat.region,
                member=seat.member,
                tokens=seat.tokens,
                weight=weight,
                counted=number in counted,
            )
            for number, (seat, weight) in enumerate(zip(roster.seats, roster.weights, strict=True))
        ),
        votes=tuple(sorted({sealed.author for sealed in record.votes})),
        voters=0 if decided.voters is None else len(decided.voters.voters),
        state_digest=value.state_digest.hex(),
    )


def _refused(reason: str) -> str:
    return (
        f"{reason}: without one (--passport and --identity) only the charter and the directory are shown, that is "
        "regions, peers, phases and tokens/s"
    )


def _given(*values: float | None) -> list[float]:
    return [value for value in values if value is not None]


def _text(text: str) -> str:
    """A stranger's words, short and without control characters."""
    return "".join(char if char.isprintable() else "?" for char in text[:_LONGEST_TEXT])
