"""The voter's half of single-decree Paxos, one decree per round (Lamport, "Paxos Made Simple", 2001).

`promise` and `accept` are pure: they return the next state or None for "no". `Acceptor` makes each new state durable
before anyone hears of it, so that kill -9 forgets nothing. Rules:

  promise(ballot)        only if ballot >= the highest promised; from then on nothing lower is accepted
  accept(ballot, value)  only if ballot >= the highest promised
  term                   after a promise in a term nothing is promised in a lower one, in whatever round

Ballots are ordered by term first, so a founders' restart is a higher ballot of the round it opens anew: what was voted
for in it before is proposed again. Where it goes back behind rounds that were voted in, those are given up.

Two rounds are kept: a witness that is asked about round 8 still votes in round 7, in which somebody may be who never
got its record. Older rounds are refused for ever, so nothing that was promised in them is needed any more.
"""

import asyncio
from collections.abc import Callable, Mapping, Set

import msgspec

from swarm.errors import ProtocolError, StateError
from swarm.identity.peer_id import PeerId
from swarm.net.wire import Accepted, Ballot, decode
from swarm.state.electorate import Electorate
from swarm.state.store import Store


class AcceptorState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must survive a crash: the newest round, the highest promise in it, the highest vote in it."""

    round: int
    promised: Ballot | None = None
    accepted: Accepted | None = None
    before: "AcceptorState | None" = None
    """The same of the round before, if this peer had a part in it."""

    @property
    def term(self) -> int:
        """The highest term promised in: a promise in a higher one starts the state anew."""
        return 0 if self.promised is None else self.promised.term

    def of(self, round_number: int) -> "AcceptorState | None":
        """What is remembered of one round."""
        if self.round == round_number:
            return self
        return None if self.before is None else self.before.of(round_number)


def promise(state: AcceptorState, round_number: int, ballot: Ballot) -> AcceptorState | None:
    """The state after promising `ballot` in a round, or None if that would break an earlier promise."""
    if ballot.term < state.term:
        return None
    if ballot.term > state.term:
        here = state.of(round_number)
        return AcceptorState(round_number, ballot, None if here is None else here.accepted)
    if round_number < state.round - 1:
        return None
    if round_number < state.round:
        before = promise(state.before or AcceptorState(round_number), round_number, ballot)
        return None if before is None else msgspec.structs.replace(state, before=before)
    if round_number > state.round:
        is_next = round_number == state.round + 1
        return AcceptorState(
            round_number, ballot, None, msgspec.structs.replace(state, before=None) if is_next else None
        )
    if state.promised is not None and ballot < state.promised:
        return None
    return msgspec.structs.replace(state, promised=ballot)


def accept(state: AcceptorState, round_number: int, ballot: Ballot, value: bytes) -> AcceptorState | None:
    """The state after voting for `value`, or None if that would break a promise."""
    promised = promise(state, round_number, ballot)
    if promised is None:
        return None
    here = state.of(round_number)
    if (
        here is not None
        and here.accepted is not None
        and here.accepted.ballot == ballot
        and here.accepted.value != value
    ):
        return None  # one ballot carries one value; anything else is its leader's equivocation
    if round_number == promised.round:
        return msgspec.structs.replace(promised, accepted=Accepted(ballot, value))
    assert promised.before is not None
    before = msgspec.structs.replace(promised.before, accepted=Accepted(ballot, value))
    return msgspec.structs.replace(promised, before=before)


def highest(accepted: list[Accepted]) -> Accepted | None:
    """The vote in the highest ballot: a leader with a quorum of promises must propose its value again."""
    return max(accepted, key=lambda vote: vote.ballot, default=None)


def may_be_decided(
    value: bytes, accepted: Mapping[PeerId, Accepted], promised: Set[PeerId], electorate: Electorate
) -> bool:
    """Whether a quorum can have voted for a value, given the highest votes of those who have promised a later ballot.

    Had a quorum decided it, every vote cast since would be for it too: each ballot proposes again what was decided. So
    whoever has promised and reports no vote for it was not in that quorum, and all others together must be one.
    """
    against = {peer for peer in promised if peer not in accepted or accepted[peer].value != value}
    return electorate.has_quorum(electorate.voters - against)


class Acceptor:
    """The durable acceptor of one peer."""

    def __init__(self, store: Store) -> None:
        """Reads what was promised before a crash. Raises StateError if that is unreadable: then it may not vote."""
        self._store = store
        self._lock = asyncio.Lock()
        data = store.load_acceptor()
        try:
            self.state = AcceptorState(0) if data is None else decode(data, AcceptorState)
        except ProtocolError as error:
            raise StateError(f"the record of votes in the state folder is corrupted ({error})") from None

    def accepted_in(self, round_number: int) -> Accepted | None:
        """This peer's highest vote in a round."""
        here = self.state.of(round_number)
        return None if here is None else here.accepted

    def promised_in(self, round_number: int) -> Ballot | None:
        here = self.state.of(round_number)
        return None if here is None else here.promised

    async def promise(self, round_number: int, ballot: Ballot) -> bool:
        """Promises durably; False if an earlier promise forbids it."""
        return await asyncio.shield(self._change(lambda state: promise(state, round_number, ballot)))

    async def accept(self, round_number: int, ballot: Ballot, value: bytes) -> bool:
        """Votes durably; False if an earlier promise forbids it."""
        return await asyncio.shield(self._change(lambda state: accept(state, round_number, ballot, value)))

    async def begin_term(self, round_number: int, term: int) -> None:
        """Forgets, durably, its votes after a round that founders restart from; it votes in no earlier term."""
        fresh = AcceptorState(round_number, Ballot(0, PeerId(""), term))
        await asyncio.shield(self._change(lambda state: state if state.term >= term else fresh))

    async def start_over(self) -> None:
        """Forgets every promise, durably: this peer has left the chain they were made on (quorum kind `available`)."""
        await asyncio.shield(self._change(lambda state: AcceptorState(0)))

    async def _change(self, step: Callable[[AcceptorState], AcceptorState | None]) -> bool:
        """Shielded by its callers: a write that was begun ends, and memory follows it, before the next one begins."""
        async with self._lock:
            state = step(self.state)
            if state is None:
                return False
            if state != self.state:
                await self._store.save_acceptor(msgspec.msgpack.encode(state))
                self.state = state
            return True
