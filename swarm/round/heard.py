"""What members have told this peer itself of candidate bases: their quality votes, and who has none to give.

A leader collects the votes that its value carries, and could leave some out. So whoever is in a roster tells every
elector as well, and an elector counts again with what it was told: it votes for no value whose outcome would be the
other one. Nothing is asked here, and a word that belongs to nothing open is passed over.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.state.quality import MAX_CHANGE_PERCENT, tally_of
from swarm.state.records import Value
from swarm.state.roster import Roster
from swarm.state.run import Run

_PATIENCE = 8
"""Attempts for which an objection stands against others than a value's own leader. Whoever can tell that it was not
decided is there in one of them; if nobody is, it is taken as decided."""
_CANDIDATES_KEPT = 4
"""Of each author; attempts of one round may have different ones."""


def stands(first: wire.Ballot, again: wire.Ballot) -> bool:
    """Whether an objection stands against a value whose roster is of one ballot and that is proposed in another."""
    is_near = again.leader == first.leader or again.attempt - first.attempt <= _PATIENCE
    return again.term == first.term and is_near


@dataclass
class Heard:
    """One peer's, of one round at a time. The first word of an author on a candidate stands."""

    _round: int = 0
    _asked: set[tuple[bytes, tuple[bytes, ...]]] = field(default_factory=set[tuple[bytes, tuple[bytes, ...]]])
    """Candidates that leaders have put to this peer, with the digests of the chunks that lead to them."""
    objected: set[bytes] = field(default_factory=set[bytes])
    """Digests of the values that this peer would not vote for, in whatever round."""
    _said: dict[PeerId, dict[bytes, wire.Sealed | None]] = field(
        default_factory=dict[PeerId, dict[bytes, wire.Sealed | None]]
    )

    def note(self, run: Run, round_number: int, author: PeerId, word: wire.CastQuality | wire.NoQuality) -> None:
        """Keeps what `author` said itself, if it is about the open round.

        Raises:
            ProtocolError: a vote that is not its own, or that no value could carry.
        """
        if isinstance(word, wire.CastQuality):
            vote = wire.unseal(word.vote, wire.QualityVote)
            if word.vote.author != author or vote.run_id != run.id:
                raise ProtocolError("a quality vote of somebody else, or of another run")
            if vote.change_percent is not None and abs(vote.change_percent) > MAX_CHANGE_PERCENT:
                raise ProtocolError("a quality vote with an impossible change of the loss")
            about, candidate, sealed = vote.round, vote.candidate, word.vote
        else:
            about, candidate, sealed = word.round, word.candidate, None
        if about != round_number:
            return
        self._open(round_number)
        said = self._said.setdefault(author, {})
        if candidate in said or len(self._said) > wire.MAX_PEERS:
            return
        said[candidate] = sealed
        while len(said) > _CANDIDATES_KEPT:
            del said[next(iter(said))]

    def put(self, round_number: int, asked: wire.AskQuality) -> None:
        """A leader asks this peer about a candidate."""
        self._open(round_number)
        self._asked.add((asked.candidate, asked.chunk_digests))

    def was_put(self, value: Value) -> bool:
        """Whether this peer was asked about what a value's votes are about."""
        return value.round == self._round and (value.candidate, value.chunk_digests) in self._asked

    def votes(self, roster: Roster, candidate: bytes) -> Mapping[PeerId, wire.Sealed]:
        """The votes of those in a roster on its candidate."""
        found = {peer: self._said[peer].get(candidate) for peer in roster.peers if self._is_of(roster, peer)}
        return {peer: vote for peer, vote in found.items() if vote is not None}

    def unheard(self, roster: Roster, value: Value) -> list[PeerId]:
        """Who is in a roster, has no vote in its value, and has not told this peer that it gives none."""
        told = {sealed.author for sealed in value.quality}
        return [
            peer
            for peer in roster.peers
            if peer not in told and not (self._is_of(roster, peer) and value.candidate in self._said[peer])
        ]

    def left_out(self, run: Run, roster: Roster, value: Value) -> list[PeerId]:
        """Whose votes are not in a value, where with them its outcome would be the other one.

        Who gave its leader another vote than it gave this peer has itself to blame: the one in the value counts.
        """
        told = {sealed.author for sealed in value.quality}
        more = [vote for peer, vote in self.votes(roster, value.candidate).items() if peer not in told]
        base = value.base_digest
        good = [vote for vote in more if wire.unseal(vote, wire.QualityVote).base_digest == base]
        if not good:
            return []
        found = tally_of(run, roster, (*value.quality, *good), base=base, candidate=value.candidate)
        return [] if found.is_rejected == value.is_rejected else sorted(vote.author for vote in good)

    def _open(self, round_number: int) -> None:
        if self._round != round_number:
            self._round = round_number
            self._said.clear()
            self._asked.clear()

    def _is_of(self, roster: Roster, peer: PeerId) -> bool:
        return roster.round == self._round and peer in self._said
