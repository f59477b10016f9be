"""The key file: what it holds, who may read it, and what is refused."""

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import IdentityError, UsageError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId, parse_peer_id, public_key_of, verify


def test_a_saved_key_loads_as_the_same_peer(tmp_path: Path) -> None:
    identity = Identity.generate()
    identity.save(tmp_path / "key")
    loaded = Identity.load(tmp_path / "key")
    assert loaded.peer_id == identity.peer_id
    assert verify(identity.peer_id, loaded.sign("test", b"hello"), "test", b"hello")


def test_the_file_is_libp2ps_private_key_for_its_owner_only(tmp_path: Path) -> None:
    identity = Identity.from_seed(bytes(range(32)))
    previous = os.umask(0)
    try:
        identity.save(tmp_path / "key")
    finally:
        os.umask(previous)
    raw = (tmp_path / "key").read_bytes()
    assert raw == bytes.fromhex("08011240") + bytes(range(32)) + public_key_of(identity.peer_id)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_seed_gives_the_same_peer_id_every_time() -> None:
    assert Identity.from_seed(bytes(32)).peer_id == Identity.from_seed(bytes(32)).peer_id
    assert Identity.from_seed(bytes(32)).peer_id.startswith("12D3KooW")


def test_save_never_overwrites(tmp_path: Path) -> None:
    Identity.generate().save(tmp_path / "key")
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(IdentityError, match="exists already"):
        Identity.generate().save(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == before


def test_save_into_a_missing_folder_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        Identity.generate().save(tmp_path / "nowhere" / "key")


def test_load_of_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        Identity.load(tmp_path / "key")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_open_to_others_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    Identity.generate().save(path)
    path.chmod(mode)
    with pytest.raises(IdentityError, match=f"chmod 600 {path}"):
        Identity.load(path)


@given(st.binary(max_size=80))
def test_other_bytes_are_no_key_file(raw: bytes) -> None:
    _refused(raw)


@given(position=st.integers(0, 67), flip=st.integers(1, 255))
def test_a_damaged_key_file_is_refused(position: int, flip: int) -> None:
    identity = Identity.from_seed(bytes(32))
    raw = bytearray(bytes.fromhex("08011240") + bytes(32) + public_key_of(identity.peer_id))
    raw[position] ^= flip
    _refused(bytes(raw))


def test_a_folder_is_no_key_file(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="not a file"):
        Identity.load(tmp_path)


def test_a_signature_holds_for_its_domain_and_message_only() -> None:
    identity = Identity.from_seed(bytes(32))
    signature = identity.sign("join", b"round 1")
    assert verify(identity.peer_id, signature, "join", b"round 1")
    assert not verify(identity.peer_id, signature, "vote", b"round 1")
    assert not verify(identity.peer_id, signature, "join", b"round 2")
    assert not verify(Identity.from_seed(b"\1" * 32).peer_id, signature, "join", b"round 1")


def test_one_key_has_one_spelling() -> None:
    peer_id = Identity.from_seed(bytes(32)).peer_id
    assert parse_peer_id(peer_id) == peer_id
    for spelling in (peer_id + " ", peer_id + "\n", " " + peer_id):
        with pytest.raises(ValueError):
            parse_peer_id(spelling)
        assert not verify(PeerId(spelling), Identity.from_seed(bytes(32)).sign("d", b"m"), "d", b"m")


def test_the_private_key_does_not_show_in_text() -> None:
    identity = Identity.from_seed(b"\x07" * 32)
    assert repr(identity) == f"Identity({identity.peer_id})"


def _refused(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key"
        path.write_bytes(raw)
        path.chmod(0o600)
        with pytest.raises(IdentityError):
            Identity.load(path)
