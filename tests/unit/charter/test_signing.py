"""Founders' signatures: how many are enough, whose count, and that nothing signed can be changed."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from swarm.charter.manifest import Data
from swarm.charter.signing import (
    Signature,
    SignedCharter,
    canonical_bytes,
    check_not_expired,
    run_id,
    sign_charter,
    verify_charter,
)
from swarm.errors import CharterError
from swarm.identity.peer_id import verify
from tests.unit.charter.samples import EXPIRES_S, FOUNDERS, STRANGER, charter, signed_charter


def test_enough_founders_make_a_charter_valid() -> None:
    assert verify_charter(signed_charter(charter(), *FOUNDERS[:2])) == charter()


def test_too_few_founders_are_named_in_numbers() -> None:
    with pytest.raises(CharterError, match="of 2 of its 3 founders and has 1"):
        verify_charter(signed_charter(charter(), FOUNDERS[0]))


def test_a_founder_counts_once() -> None:
    once = signed_charter(charter(), FOUNDERS[0])
    with pytest.raises(CharterError, match="has 1"):
        verify_charter(SignedCharter(charter=once.charter, signatures=once.signatures * 2))
    assert sign_charter(once, FOUNDERS[0]) == once


def test_a_stranger_counts_nothing_and_cannot_sign() -> None:
    once = signed_charter(charter(), FOUNDERS[0])
    text = STRANGER.sign("charter", canonical_bytes(once.charter)).hex()
    extra = Signature(key=STRANGER.peer_id, signature=text)
    with pytest.raises(CharterError, match="has 1"):
        verify_charter(SignedCharter(charter=once.charter, signatures=(*once.signatures, extra)))
    with pytest.raises(CharterError, match="not one of the charter's founders"):
        sign_charter(once, STRANGER)


def test_a_signature_for_another_kind_of_document_counts_nothing() -> None:
    once = signed_charter(charter(), FOUNDERS[0])
    text = FOUNDERS[1].sign("passport", canonical_bytes(once.charter)).hex()
    extra = Signature(key=FOUNDERS[1].peer_id, signature=text)
    with pytest.raises(CharterError, match="has 1"):
        verify_charter(SignedCharter(charter=once.charter, signatures=(*once.signatures, extra)))


def test_the_expiry_second_itself_is_too_late() -> None:
    check_not_expired(charter(), EXPIRES_S - 0.001)
    with pytest.raises(CharterError, match="expired"):
        check_not_expired(charter(), EXPIRES_S)


def test_an_inconsistent_charter_is_neither_signed_nor_valid() -> None:
    bad = replace(charter(), weights=replace(charter().weights, cap_percent=1))
    with pytest.raises(CharterError, match="below 100 %"):
        sign_charter(SignedCharter(charter=bad), FOUNDERS[0])
    signatures = tuple(
        Signature(key=founder.peer_id, signature=founder.sign("charter", canonical_bytes(bad)).hex())
        for founder in FOUNDERS
    )
    with pytest.raises(CharterError, match="below 100 %"):
        verify_charter(SignedCharter(charter=bad, signatures=signatures))


def test_a_flood_of_signatures_is_refused() -> None:
    signed = signed_charter(charter(), *FOUNDERS)
    with pytest.raises(CharterError, match="more than"):
        verify_charter(SignedCharter(charter=signed.charter, signatures=signed.signatures * 100))


def test_the_signing_order_does_not_show() -> None:
    first, second = FOUNDERS[:2]
    assert signed_charter(charter(), first, second) == signed_charter(charter(), second, first)


def test_the_run_id_is_the_hash_of_sorted_compact_json() -> None:
    data = canonical_bytes(charter())
    assert run_id(charter()) == hashlib.sha256(data).hexdigest()
    assert json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()[:40] == data[:40]
    assert json.loads(data)["outer"] == {"kind": "nesterov", "lr": 0.7, "momentum": 0.9}


def test_a_table_that_charters_gained_later_changes_no_run_that_does_not_use_it() -> None:
    assert b'"data"' not in canonical_bytes(charter())
    named = replace(charter(), data=Data(licences=("CC0-1.0",)))
    assert run_id(named) != run_id(charter())
    assert verify_charter(signed_charter(named, *FOUNDERS[:2])) == named


def test_every_difference_makes_another_run() -> None:
    base = charter()
    assert run_id(base) != run_id(replace(base, run=replace(base.run, created=base.run.created + 1)))
    assert run_id(base) != run_id(replace(base, training=replace(base.training, inner_lr=2.1e-3)))


@given(position=st.integers(min_value=0), flip=st.integers(1, 255))
def test_any_changed_byte_of_the_signed_bytes_breaks_the_signature(position: int, flip: int) -> None:
    signed = signed_charter(charter(), FOUNDERS[0])
    data = bytearray(canonical_bytes(signed.charter))
    signature = bytes.fromhex(signed.signatures[0].signature)
    assert verify(FOUNDERS[0].peer_id, signature, "charter", bytes(data))
    data[position % len(data)] ^= flip
    assert not verify(FOUNDERS[0].peer_id, signature, "charter", bytes(data))


@given(position=st.integers(0, 63), flip=st.integers(1, 255))
def test_any_changed_byte_of_a_signature_is_refused(position: int, flip: int) -> None:
    signed = signed_charter(charter(), *FOUNDERS[:2])
    raw = bytearray.fromhex(signed.signatures[0].signature)
    raw[position] ^= flip
    broken = replace(signed.signatures[0], signature=raw.hex())
    with pytest.raises(CharterError, match="has 1"):
        verify_charter(SignedCharter(charter=signed.charter, signatures=(broken, signed.signatures[1])))
