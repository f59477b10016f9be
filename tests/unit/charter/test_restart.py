"""The founders' restart as a document: who may sign it, what it must say, and that its bytes have one spelling."""

import msgspec
import pytest

from swarm.charter.restart import (
    MAX_RESTART_BYTES,
    MAX_TERM,
    Restart,
    SignedRestart,
    decode,
    encode,
    sign_restart,
    verify_restart,
)
from swarm.charter.signing import run_id
from swarm.errors import CharterError
from tests.unit.charter import samples

CHARTER = samples.charter()
GOOD = Restart(
    run_id=run_id(CHARTER), term=1, round=7, record="c" * 64, peers=tuple(peer.peer_id for peer in samples.PEERS[:2])
)


def signed(payload: Restart = GOOD, signers: int = 2) -> SignedRestart:
    made = SignedRestart(restart=payload)
    for founder in samples.FOUNDERS[:signers]:
        made = sign_restart(made, CHARTER, founder)
    return made


def test_enough_founders_make_it_valid_and_signing_twice_counts_once() -> None:
    twice = sign_restart(signed(signers=1), CHARTER, samples.FOUNDERS[0])
    assert len(twice.signatures) == 1
    assert verify_restart(decode(encode(signed())), CHARTER) == GOOD
    with pytest.raises(CharterError, match="2 of 3 founders and has 1"):
        verify_restart(twice, CHARTER)


def test_nobody_else_can_sign() -> None:
    with pytest.raises(CharterError, match="not one of the charter's founders"):
        sign_restart(signed(), CHARTER, samples.ADA)
    entry = msgspec.structs.replace(signed().signatures[0], key=samples.ADA.peer_id)
    with pytest.raises(CharterError, match="not one of the charter's founders"):
        verify_restart(SignedRestart(restart=GOOD, signatures=(*signed().signatures, entry)), CHARTER)


@pytest.mark.parametrize("change", [{"term": 2}, {"round": 8}, {"record": "d" * 64}, {"peers": GOOD.peers[:1]}])
def test_signatures_cover_all_of_it(change: dict[str, object]) -> None:
    bent = SignedRestart(restart=msgspec.structs.replace(GOOD, **change), signatures=signed().signatures)
    with pytest.raises(CharterError, match="has 0"):
        verify_restart(bent, CHARTER)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"run_id": "0" * 64}, "another run"),
        ({"term": 0}, "term is 0"),
        ({"term": MAX_TERM + 1}, "term is"),
        ({"round": -1}, "follows round -1"),
        ({"record": "c" * 63}, "64 lowercase"),
        ({"record": "C" * 64}, "64 lowercase"),
        ({"record": ""}, "64 lowercase"),
        ({"round": 0}, "empty for round 0"),
        ({"peers": ()}, "1 to"),
        ({"peers": (GOOD.peers[0], GOOD.peers[0])}, "twice"),
        ({"witnesses": (GOOD.peers[0],)}, "twice"),
        ({"peers": ("nobody",)}, "electorate"),
        ({"members": ("ada",)}, "1 members for 2 peers"),
        ({"members": ("ada", "x" * 65)}, "1 to 64 characters"),
        ({"members": ("ada", "b\x1bo")}, "control characters"),
    ],
)
def test_what_it_says_must_make_sense(change: dict[str, object], cause: str) -> None:
    with pytest.raises(CharterError, match=cause):
        signed(msgspec.structs.replace(GOOD, **change))


def test_a_member_that_an_amendment_has_added_may_be_named() -> None:
    payload = msgspec.structs.replace(GOOD, members=("ada", "joined since"))
    assert verify_restart(decode(encode(signed(payload))), CHARTER) == payload


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"\xff", b"[" * 10_000, encode(signed()) + b" ", bytes(MAX_RESTART_BYTES + 1)],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CharterError, match="restart"):
        decode(data)
