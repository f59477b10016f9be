"""Watches a swarm and takes no part: reads the directory, asks peers for what they publish, and verifies records.

Works on any transport and directory; `observer.py` gives it libp2p. All that it learns goes to one sink as values for
the projection (swarm.telemetry). It announces nothing, keeps nothing for others, and asks for nothing but `Observe` and
the amendments and revocations, which are as public as the charter: no update, result or state can come to it.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from typing import NoReturn

from swarm.charter import passport as passports
from swarm.charter.admission import Admitted
from swarm.charter.holdings import in_force_for, newest_of
from swarm.charter.manifest import Charter
from swarm.clock import WallClock
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.calls import Caller
from swarm.net.transport import Directory, StreamLostError
from swarm.node.announcements import read_announcement
from swarm.node.observatory import MAX_SUMMARY_BYTES, MOST_RECORDS, TOO_OFTEN
from swarm.node.observed_chain import ObservedChain
from swarm.state.electorate import few_of
from swarm.state.run import Run
from swarm.state.shelf import Shelf
from swarm.state.store import MemoryStore
from swarm.telemetry import seen

LOOK_EVERY_S = 2.0
DOCUMENTS_EVERY = 15
"""Looks from one question for amendments and revocations to the next, each to somebody else."""
MOST_ASKED = 32
"""Peers asked at each look, others each time."""
MOST_RELAYED = 4
"""Of peers behind NATs: each answer costs a relay twice its bytes."""
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
        may_relay: bool = False,
    ) -> None:
        """`entries` are asked besides those in the directory; `connect` dials a peer at its announced addresses.

        `may_relay`: whether there is a passport, with which relays let an observer through to peers behind NATs.
        """
        self._run = run
        self._caller = caller
        self._directory = directory
        self._entries = tuple(entries)
        self._take = take
        self._wall_clock = wall_clock
        self._connect = connect
        self._may_relay = may_relay
        self._chain = ObservedChain(run, MOST_RECORDS)
        self._shelf = Shelf(MemoryStore(), lambda event: None)
        """Amendments and revocations that were given: a stranger has no records to learn them from."""
        self._heads: dict[PeerId, int] = {}
        """The newest round that each who answers has a record of."""
        self._known: dict[PeerId, wire.Announcement] = {}
        self._dialled: dict[PeerId, tuple[str, ...]] = {}
        self._said: dict[str, str] = {}
        self._rules = run.rules
        """Under which the entries that are known were read."""
        self._tell(run.charter, float(run.charter.run.created))

    @property
    def run_now(self) -> Run:
        """Under the rules in force. Who is given no records knows no round, and goes by the newest amendment."""
        mark, held = self._chain.mark, self._shelf.held
        rules = in_force_for(mark.rules, held, mark.round + 1)[0] if mark.round else newest_of(mark.rules, held)
        return self._run.under(rules)

    @property
    def announced(self) -> Mapping[PeerId, wire.Announcement]:
        """What the directory says of each peer."""
        return self._known

    async def keep_watching(self) -> NoReturn:
        """Looks again and again, until cancelled."""
        for number in count():
            await self.look(number)
            await asyncio.sleep(LOOK_EVERY_S)
        raise AssertionError("counting has no end")

    async def look(self, number: int = 0) -> None:
        """The directory, then everybody who can be asked; records from one of them, whoever has newer ones first."""
        if number % DOCUMENTS_EVERY == 0:
            await self._read_documents(number // DOCUMENTS_EVERY)
        await self._read_directory()
        few = few_of(self._doors, MOST_ASKED, f"{self._caller.peer_id}/{number}")
        hidden = [peer for peer, entry in self._known.items() if not entry.dialable and entry.relays]
        relayed = few_of(hidden, MOST_RELAYED, f"{self._caller.peer_id}/{number}") if self._may_relay else []
        source = self._source(few, number)
        asked = ((peer, self._chain.first_for(peer) if peer == source else 0) for peer in (*few, *relayed))
        await asyncio.gather(*(self._ask(peer, first) for peer, first in asked))

    def _source(self, peers: Sequence[PeerId], number: int) -> PeerId | None:
        """Whom to ask for records this time."""
        doubted = [peer for peer in peers if self._chain.is_doubted(peer)]
        ahead = [peer for peer in peers if self._heads.get(peer, 0) > self._chain.mark.round]
        best = doubted or ahead or list(peers)
        return best[number % len(best)] if best else None

    @property
    def _doors(self) -> list[PeerId]:
        """Whoever can be asked without a relay."""
        dialable = (peer for peer, entry in self._known.items() if entry.dialable)
        return [*dict.fromkeys((*self._entries, *dialable))]

    # --- the rules ----------------------------------------------------------------------------------------------------

    async def _read_documents(self, turn: int) -> None:
        """What one of them holds; who does not answer, or holds nothing good, is no obstacle."""
        doors = self._doors
        if not doors:
            return
        peer = doors[turn % len(doors)]
        try:
            answer = await self._caller.ask(
                peer, wire.GetDocuments(), wire.DocumentsAre, wire.MAX_CONTROL_BYTES, _ASK_LIMIT_S
            )
        except (StreamLostError, ProtocolError):
            return
        self._shelf.take(self._run.rules, answer.documents)

    def _follow_rules(self, run: Run, now_s: float) -> None:
        """Lets go of peers that the rules in force no longer admit, and tells of another charter."""
        is_over = now_s >= run.charter.run.expires
        self._remark("expiry", "the run is over: the charter in force has expired" if is_over else "")
        if run.rules == self._rules:
            return
        if run.charter != self._rules.charter:
            self._tell(run.charter, now_s)
        self._rules = run.rules
        for peer, entry in [*self._known.items()]:
            signed = passports.decode(entry.passport)
            if not isinstance(run.rules.admit(signed, peer, signed.payload.not_before), Admitted):
                del self._known[peer]
                self._heads.pop(peer, None)

    def _tell(self, charter: Charter, at: float) -> None:
        self._take(
            seen.RunSeen(
                at=at,
                run_id=self._run.id,
                name=charter.run.name,
                admission=charter.admission.kind,
                min_contributors=charter.reduce.least_members,
                parameters=charter.model.parameters,
                regions={region.name: region.jurisdictions for region in charter.regions},
            )
        )

    # --- the directory ------------------------------------------------------------------------------------------------

    async def _read_directory(self) -> None:
        now_s, run = self._wall_clock(), self.run_now
        self._follow_rules(run, now_s)
        try:
            found = await self._directory.announcements()
        except (TimeoutError, OSError):
            self._remark("directory", "the directory does not answer")
            return
        self._remark("directory", "")
        for data in found:
            entry = read_announcement(data, run, now_s)
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
                await self._read_records(peer, stream)
        except ProtocolError as error:
            self._remark(f"peer {peer}", f"{peer[-6:]} gave something that does not hold: {_text(str(error))}")
        except (StreamLostError, TimeoutError):
            self._heads.pop(peer, None)
        finally:
            stream.close()

    async def _read_records(self, peer: PeerId, stream: AuditedStream) -> None:
        """Takes a peer's records, as far as they follow. Raises ProtocolError for one that follows nothing."""
        found: list[bytes] = []
        for _ in range(MOST_RECORDS + 1):
            answer = await stream.receive(wire.ObservedRecord | wire.Missing, wire.MAX_CONTROL_BYTES)
            if isinstance(answer, wire.Missing):
                break
            found.append(answer.record)
        for each in self._chain.offer(peer, found):
            if isinstance(each, seen.Parted):
                self._remark(
                    "chain", f"the swarm went over to another chain after round {each.round}: watched from there"
                )
            self._take(each)

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
