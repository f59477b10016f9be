"""What a chain makes of the founders' restarts: the electorate that follows a record they name.

Rules, in this order; whoever breaks one is told which:

 1. the document is of this run and signed by enough founders, and by nobody else;
 2. it names the very record that this point of the chain stands at;
 3. its term is above the one in force: the higher term wins, and a term has one restart.

No I/O. A restarted electorate keeps the documents, until a record has followed that carries them, and the electorate
they replaced, since a value that was voted for in its term may have been decided and is then proposed again.
"""

from collections.abc import Sequence
from functools import lru_cache

from swarm.charter import restart as documents_of_founders
from swarm.charter.restart import Restart
from swarm.errors import CharterError, ProtocolError
from swarm.state.electorate import Electorate, named_members
from swarm.state.run import Run

MAX_PENDING = 16
"""Restarts that may follow one record: founders whose new electorate was lost as well try again."""
_REMEMBERED = 64


@lru_cache(_REMEMBERED)
def read_restart(document: bytes, run: Run) -> Restart:
    """A founders' restart of this run, wherever its bytes came from. Raises ProtocolError if it is none."""
    try:
        return documents_of_founders.verify_restart(documents_of_founders.decode(document), run.genesis.charter)
    except CharterError as error:
        raise ProtocolError(str(error)) from None


def read_restarts(documents: Sequence[bytes], run: Run) -> Restart:
    """The newest of some restarts that follow one record, each of a higher term. Raises ProtocolError."""
    if not 1 <= len(documents) <= MAX_PENDING:
        raise ProtocolError(f"{len(documents)} restarts at once, expected 1 to {MAX_PENDING}")
    read = [read_restart(document, run) for document in documents]
    terms = [restart.term for restart in read]
    if terms != sorted(set(terms)) or len({(restart.round, restart.record) for restart in read}) > 1:
        raise ProtocolError("restarts that do not follow one record in the order of their terms")
    return read[-1]


def restarted(
    run: Run, electorate: Electorate, documents: Sequence[bytes], *, round_number: int, record: bytes
) -> Electorate:
    """The electorate of the round after `round_number`, whose record has the digest `record`.

    Raises:
        ProtocolError: one of the rules above is broken; says which.
    """
    read_restarts(documents, run)
    for document in documents:
        restart = read_restart(document, run)
        if restart in [read_restart(taken, run) for taken in electorate.restarts]:
            continue
        if (restart.round, restart.record) != (round_number, record.hex()):
            raise ProtocolError(
                f"a restart of term {restart.term} after round {restart.round} names an unknown record "
                f"({restart.record[:16] or 'state 0'}): here round {round_number} has {record.hex()[:16] or 'state 0'}"
            )
        if restart.term <= electorate.term:
            is_second = restart.term == electorate.term
            raise ProtocolError(
                f"a second restart of term {restart.term}: that term's electorate is in force already"
                if is_second
                else f"a restart of term {restart.term}, and term {electorate.term} is in force"
            )
        electorate = Electorate(
            frozenset(restart.peers),
            frozenset(restart.witnesses),
            term=restart.term,
            restarts=(*electorate.restarts, document),
            replaced=electorate,
            members=named_members(restart.peers, restart.members),
        )
    return electorate


def in_force(
    run: Run, electorate: Electorate, documents: Sequence[bytes], *, round_number: int, record: bytes
) -> Electorate:
    """Who voted on a record that carries `documents` (none, if no restart came before it), given who might have.

    Raises:
        ProtocolError: its term is not the one in force, or its documents are not good.
    """
    origin = electorate.origin
    voters = restarted(run, origin, documents, round_number=round_number, record=record) if documents else origin
    if voters.term < electorate.term:
        raise ProtocolError(
            f"a record of term {voters.term}, which the founders' restart of term {electorate.term} has ended"
        )
    if voters.term == electorate.term and voters.voters != electorate.voters:
        raise ProtocolError(f"a second restart of term {voters.term}: that term's electorate is in force already")
    return voters
