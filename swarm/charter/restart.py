"""The founders' restart: a new electorate for a run whose old one has lost its majority for good.

A document names the last record that counts, who votes on the round after it, and a term. It is signed by as many
founders as a charter needs and verifies from the charter alone; the higher term wins. Makes, encodes, reads and checks
documents; what a chain makes of one is `swarm.state.restarts`.
"""

from functools import lru_cache

import msgspec
import rfc8785

from swarm.charter.manifest import Charter
from swarm.charter.rules import MAX_FOUNDERS, MAX_GENESIS_PEERS, check_electors_names
from swarm.charter.signing import Signature, run_id
from swarm.errors import CharterError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId, parse_peer_id, verify

RESTART_DOMAIN = "restart"
MAX_RESTART_BYTES = 1_048_576
MAX_TERM = 1_000_000
MAX_RESTART_ROUND = 2**40
_DIGEST_HEX = 64
_REMEMBERED = 64


class Restart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payload that founders sign."""

    run_id: str
    term: int
    """From 1 on; a run that was never restarted is in term 0."""
    round: int
    """The last round that counts; 0 for the charter's state 0."""
    record: str
    """Hex digest of that round's record; empty for round 0."""
    peers: tuple[PeerId, ...]
    """The electorate of the round after it."""
    witnesses: tuple[PeerId, ...] = ()
    """Who votes without reducing from then on, instead of the charter's witnesses."""
    members: tuple[str, ...] = ()
    """The member of each of `peers`, as in a charter's genesis; one that an amendment has added, too. Whose a peer is
    counts until a record follows, whose passports say it."""


class SignedRestart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An envelope: nothing in it is to be believed before `verify_restart`."""

    restart: Restart
    signatures: tuple[Signature, ...] = ()


def encode(signed: SignedRestart) -> bytes:
    """One line of canonical JSON (RFC 8785). Raises CharterError for a number that JSON cannot hold exactly."""
    return _canonical(signed) + b"\n"


def decode(data: bytes) -> SignedRestart:
    """The envelope in a file or a message; nothing is verified yet. Only the bytes that `encode` writes are read.

    Raises:
        CharterError: too long, not JSON, a key that is missing, unknown or of the wrong type, or another spelling.
    """
    if len(data) > MAX_RESTART_BYTES:
        raise CharterError(f"the restart is longer than {MAX_RESTART_BYTES} bytes")
    try:
        signed = msgspec.json.decode(data, type=SignedRestart)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CharterError(f"restart: {error}") from None
    if encode(signed) != data:
        raise CharterError("the restart was changed after it was written: it is not in canonical form")
    return signed


def sign_restart(signed: SignedRestart, charter: Charter, identity: Identity) -> SignedRestart:
    """Adds (or renews) the signature of one founder; signatures stay in the founders' order.

    Raises:
        CharterError: the document breaks a rule, or the key is not a founder's.
    """
    check_restart(signed.restart, charter)
    if identity.peer_id not in charter.founders.keys:
        raise CharterError(f"{identity.peer_id} is not one of the charter's founders")
    text = identity.sign(RESTART_DOMAIN, _canonical(signed.restart)).hex()
    by_key = {known.key: known for known in signed.signatures if known.key in charter.founders.keys}
    by_key[identity.peer_id] = Signature(key=identity.peer_id, signature=text)
    ordered = tuple(by_key[key] for key in charter.founders.keys if key in by_key)
    return SignedRestart(restart=signed.restart, signatures=ordered)


def verify_restart(signed: SignedRestart, charter: Charter) -> Restart:
    """The payload, once it is consistent, of this run, and signed by enough founders.

    Raises:
        CharterError: one sentence that says what is wrong.
    """
    check_restart(signed.restart, charter)
    if len(signed.signatures) > MAX_FOUNDERS:
        raise CharterError(f"the restart carries more than {MAX_FOUNDERS} signatures")
    strangers = sorted({entry.key for entry in signed.signatures} - set(charter.founders.keys))
    if strangers:
        raise CharterError(f"the restart is signed by {strangers[0]}, which is not one of the charter's founders")
    valid, needed = len(valid_signers(signed)), charter.founders.threshold
    if valid < needed:
        raise CharterError(
            f"the restart needs valid signatures of {needed} of {len(charter.founders.keys)} founders and has {valid}"
        )
    return signed.restart


@lru_cache(_REMEMBERED)
def valid_signers(signed: SignedRestart) -> frozenset[PeerId]:
    """Whose signatures hold; a key counts once. Whether it is a founder's is not asked here."""
    message = _canonical(signed.restart)
    return frozenset(entry.key for entry in signed.signatures if _holds(entry, message))


def check_restart(restart: Restart, charter: Charter) -> None:
    """Judges the payload alone. Raises CharterError with the first rule that is broken."""
    if restart.run_id != run_id(charter):
        raise CharterError(f"the restart is of another run ({restart.run_id[:16]!r}...)")
    if not 1 <= restart.term <= MAX_TERM:
        raise CharterError(f"the restart's term is {restart.term}, expected 1 to {MAX_TERM}")
    if not 0 <= restart.round <= MAX_RESTART_ROUND:
        raise CharterError(f"the restart follows round {restart.round}, expected 0 to {MAX_RESTART_ROUND}")
    if len(restart.record) != (_DIGEST_HEX if restart.round else 0) or set(restart.record) - set("0123456789abcdef"):
        raise CharterError("the restart's record must be 64 lowercase hexadecimal digits, and empty for round 0")
    if not 1 <= len(restart.peers) <= MAX_GENESIS_PEERS or len(restart.witnesses) > MAX_GENESIS_PEERS:
        raise CharterError(f"the restart's electorate must have 1 to {MAX_GENESIS_PEERS} peers")
    voters = (*restart.peers, *restart.witnesses)
    if len(set(voters)) < len(voters):
        raise CharterError("the restart names an elector twice")
    for peer in voters:
        try:
            parse_peer_id(peer)
        except ValueError as error:
            raise CharterError(f"the restart's electorate: {error}") from None
    check_electors_names("the restart", restart.peers, restart.members)
    if restart.witnesses and charter.quorum.kind == "available":
        raise CharterError('quorum.kind "available" has no witnesses, and neither has a restart of such a run')


def _holds(entry: Signature, message: bytes) -> bool:
    try:
        raw = bytes.fromhex(entry.signature)
    except ValueError:
        return False
    return verify(entry.key, raw, RESTART_DOMAIN, message)


def _canonical(document: Restart | SignedRestart) -> bytes:
    try:
        return rfc8785.dumps(msgspec.to_builtins(document))
    except rfc8785.CanonicalizationError as error:
        raise CharterError(f"the restart has no canonical form: {error}") from None
