"""Charters as TOML: nothing is lost on the way, and every malformed text is refused with its cause."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from swarm.charter.files import MAX_CHARTER_BYTES, decode_bytes, decode_toml, encode_toml, read, write
from swarm.charter.manifest import AdamW
from swarm.charter.signing import SignedCharter, verify_charter
from swarm.errors import CharterError, UsageError
from tests.unit.charter.samples import FOUNDERS, charter, signed_charter

SIGNED = signed_charter(charter(), *FOUNDERS[:2])
TEXT = encode_toml(SIGNED)


def test_a_charter_survives_the_file(tmp_path: Path) -> None:
    for payload in (charter(), replace(charter(), outer=AdamW(lr=1e-4, eps=1e-12))):
        signed = signed_charter(payload, *FOUNDERS[:2])
        write(tmp_path / "charter.toml", signed)
        assert read(tmp_path / "charter.toml") == signed
        assert verify_charter(read(tmp_path / "charter.toml")) == payload


def test_an_unsigned_charter_is_a_file_too(tmp_path: Path) -> None:
    write(tmp_path / "charter.toml", SignedCharter(charter=charter()))
    assert read(tmp_path / "charter.toml").signatures == ()


def test_comments_and_omitted_defaults_leave_the_signatures_valid() -> None:
    text = "# our spring run\n" + TEXT.replace("mad_factor = 6.0\n", "")
    assert text.count("mad_factor") == 0
    assert verify_charter(decode_toml(text)) == charter()


@pytest.mark.parametrize(
    ("before", "after", "cause"),
    [
        ("created = ", "created = 1.5 #", "run.created"),
        ("inner_steps = 10", 'inner_steps = "ten"', "training.inner_steps"),
        ("inner_steps = 10", "inner_stepz = 10", "inner_stepz"),
        ('mode = "diloco"', 'mode = "fast"', "training.mode"),
        ('kind = "nesterov"', 'kind = "sgd"', "outer.kind"),
        ("version = 1", "version = 2", "version"),
        ("threshold = 2\n", "", "threshold"),
        ("[run]", "[run", "not TOML"),
        ("signature = ", "sig = ", "signatures"),
        ("parameters = 1000", "parameters = " + "9" * 5000, "too long"),
        ("version = 1", "version = " + "[" * 100_000, "nested too deeply"),
        ("version = 1", "a." * 100_000 + "b = 1", "dots"),
    ],
)
def test_the_wrong_key_is_named(before: str, after: str, cause: str) -> None:
    assert before in TEXT
    with pytest.raises(CharterError, match=cause) as caught:
        decode_toml(TEXT.replace(before, after, 1))
    assert "\n" not in str(caught.value)


def test_a_charter_longer_than_the_limit_is_refused(tmp_path: Path) -> None:
    text = "#" * (MAX_CHARTER_BYTES + 1)
    (tmp_path / "charter.toml").write_text(text)
    for attempt in (
        lambda: decode_toml(text),
        lambda: decode_bytes(text.encode()),
        lambda: read(tmp_path / "charter.toml"),
    ):
        with pytest.raises(CharterError, match="longer than"):
            attempt()


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_decoder(data: bytes) -> None:
    with pytest.raises(CharterError):
        decode_bytes(data)


@given(position=st.integers(0, len(TEXT.encode()) - 1), flip=st.integers(1, 255))
def test_a_changed_byte_is_refused_or_changes_nothing_that_was_signed(position: int, flip: int) -> None:
    data = bytearray(TEXT.encode())
    data[position] ^= flip
    try:
        payload = verify_charter(decode_bytes(bytes(data)))
    except CharterError:
        return
    # Still accepted: white space, a digit's case in a signature, a spelling of the same number.
    assert payload == charter()


def test_a_missing_file_or_folder_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        read(tmp_path / "charter.toml")
    with pytest.raises(UsageError):
        write(tmp_path / "nowhere" / "charter.toml", SIGNED)


def test_a_folder_is_no_charter(tmp_path: Path) -> None:
    with pytest.raises(CharterError, match="cannot read"):
        read(tmp_path)
    with pytest.raises(CharterError, match="cannot write"):
        write(tmp_path, SIGNED)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "charter.toml"
    write(path, SIGNED)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CharterError, match="No space left"):
        write(path, SignedCharter(charter=charter()))
    assert read(path) == SIGNED
    assert os.listdir(tmp_path) == ["charter.toml"]
