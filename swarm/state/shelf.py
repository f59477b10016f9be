"""The governance documents that a peer holds: judged as they come, kept on disk, and read from there.

    STATE/governance/*      one document per file; who drops one there hands it to this peer at its next round

What is in force follows from a verified record and from what lies here (`swarm.charter.holdings`). Documents stay when
records have carried them: whoever asks gets all, and every one verifies from the charter.
"""

from collections.abc import Callable, Sequence

from swarm import events
from swarm.charter.amendment import SignedAmendment
from swarm.charter.epochs import Rules, SignedDocument, decode, digest_of
from swarm.charter.holdings import Equivocation, Rejected, Taken, judge
from swarm.charter.revocation import scope
from swarm.state.store import Store

MOST_AT_ONCE = 4_096
"""Documents looked at of one message; the rest comes with the next."""
MOST_TOLD = 256
"""Different causes of refusal that are said: who sends nonsense without end fills no log."""
_NAME_HEX = 16


class Shelf:
    """One peer's documents, each good when it came."""

    def __init__(self, store: Store, sink: Callable[[events.AnyEvent], None]) -> None:
        self.held: tuple[bytes, ...] = ()
        self.carried_since = 0
        """The last round whose documents are here because a record has carried them."""
        self._store = store
        self._sink = sink
        self._told: set[str] = set()
        """What was said of documents that are not good: once is enough, however often they are seen."""

    def take(self, rules: Rules, documents: Sequence[bytes]) -> list[bytes]:
        """Keeps what is good and new under the rules on record and what is held; those, in the order they were good.

        Whatever order they come in: a document may rest on another one of them.
        """
        waiting = dict[bytes, str | None].fromkeys(documents[:MOST_AT_ONCE])
        taken: list[bytes] = []
        is_moving = True
        while is_moving and waiting:
            is_moving = False
            for data in list(waiting):
                match judge(rules, self.held, data):
                    case Taken():
                        self.held = (*self.held, data)
                        taken.append(data)
                        del waiting[data]
                        is_moving = True
                        self._say_taken(data)
                    case Rejected(code, reason):
                        waiting[data] = f"{code}:{reason}"
                    case Equivocation(epoch, both, reason):
                        del waiting[data]
                        self._say_once(
                            reason, events.MembersEquivocated(epoch=epoch, signers=tuple(sorted(both)), reason=reason)
                        )
                    case _:
                        del waiting[data]
        for said in waiting.values():
            code, _, reason = (said or "").partition(":")
            self._say_once(reason, events.DocumentRefused(code=code, reason=reason))
        return taken

    def hold(self, documents: Sequence[bytes]) -> list[bytes]:
        """Keeps what a verified record has carried; those that were not here."""
        known = {digest_of(data) for data in self.held}
        new = [data for data in documents if digest_of(data) not in known]
        self.held = (*self.held, *new)
        return new

    def look(self, rules: Rules) -> list[bytes]:
        """Takes what lies in the state folder and is new. Raises StateError if that cannot be read."""
        return self.take(rules, self._store.load_documents())

    async def save(self, documents: Sequence[bytes]) -> None:
        """Keeps them for when this peer comes back. Raises StateError."""
        for data in documents:
            await self._store.save_document(f"{_kind_of(decode(data))}-{digest_of(data)[:_NAME_HEX]}.json", data)

    def _say_taken(self, data: bytes) -> None:
        document = decode(data)
        self._sink(events.DocumentTaken(kind=_kind_of(document), digest=digest_of(data), told=told(document)))

    def _say_once(self, reason: str, event: events.AnyEvent) -> None:
        if reason not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(reason)
            self._sink(event)


def told(document: SignedDocument) -> str:
    """What a document does, in a sentence."""
    if isinstance(document, SignedAmendment):
        amendment = document.amendment
        return f"epoch {amendment.epoch} from round {amendment.from_round} on: {amendment.reason}"
    return f"{scope(document.revocation)} withdrawn: {document.revocation.reason}"


def _kind_of(document: SignedDocument) -> str:
    return "amendment" if isinstance(document, SignedAmendment) else "revocation"
