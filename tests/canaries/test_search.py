"""The detectors find a planted secret in each encoding, wherever it stands, and nothing in noise."""

import base64
import gzip
import random
import zlib

import pyarrow
import pytest

from tests.canaries.search import encodings, search

SECRET = "483920174658"
NOISE = random.Random(7).randbytes(5000)
TEXT = f"The file number is {SECRET}.".encode()
PACKED = {
    "zlib": zlib.compress(TEXT),
    "zlib, fastest": zlib.compress(TEXT * 20, 1),
    "gzip": gzip.compress(TEXT),
    "zstd": pyarrow.compress(TEXT, "zstd", asbytes=True),
    "cut zlib": zlib.compress(NOISE + TEXT + NOISE * 3)[:-100],
    "zlib in base64": base64.b64encode(b"x" + zlib.compress(TEXT)),
    "gzip in zlib": zlib.compress(gzip.compress(TEXT)),
}


@pytest.mark.parametrize("name", encodings(SECRET))
@pytest.mark.parametrize("before_bytes", [0, 1, 1001])
def test_every_encoding_is_found(name: str, before_bytes: int) -> None:
    data = NOISE[:before_bytes] + encodings(SECRET)[name] + NOISE
    assert any(found.secret == SECRET for found in search(data, [SECRET]))


@pytest.mark.parametrize("before_bytes", [0, 1, 2])
def test_base64_is_found_at_every_alignment(before_bytes: int) -> None:
    data = base64.b64encode(NOISE[:before_bytes] + TEXT)
    names = {found.encoding for found in search(b"\x00" + data, [SECRET])}
    assert any(name.startswith("base64 +") for name in names)


@pytest.mark.parametrize("name", PACKED)
def test_what_is_inside_a_container_is_found(name: str) -> None:
    assert search(NOISE + PACKED[name] + NOISE, [SECRET])


def test_nothing_is_found_where_nothing_is() -> None:
    assert search(NOISE * 20, [SECRET]) == []
    assert search(TEXT.replace(b"4839", b"4838"), [SECRET]) == []
