"""Events of a run's rules: documents that came, were refused, or contradict each other, and what is in force."""

from swarm.events.base import Event


class DocumentTaken(Event, frozen=True, kw_only=True):
    """A good amendment or revocation that was not known here; it counts from the next group on, or from its round."""

    kind: str
    """`amendment` or `revocation`."""
    digest: str
    told: str
    """What it does, in a sentence."""


class DocumentRefused(Event, frozen=True, kw_only=True):
    """A governance document that is not good here; nothing changes."""

    code: str
    """`malformed`, `gap`, `refused`, or `too_many`."""
    reason: str


class MembersEquivocated(Event, frozen=True, kw_only=True):
    """A second good amendment of one epoch: whoever signed both has contradicted itself. The first one stands."""

    epoch: int
    signers: tuple[str, ...]
    """Keys of the members that signed both, as far as the first one is at hand."""
    reason: str


class RulesInForce(Event, frozen=True, kw_only=True):
    """The rules that this peer holds to have changed."""

    round: int
    """The first round they govern here."""
    epoch: int
    revocations: int
    """Entries on the list."""
