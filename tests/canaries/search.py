"""Finds planted secrets in bytes, however plainly they were encoded.

Looked for: the secret itself, UTF-16 in both byte orders, hex, base64 in its three alignments (standard and URL-safe),
and its bytes as token ids in int16, int32 and int64 of both byte orders. The same again inside every zlib, gzip and
zstd stream that begins anywhere, and inside every base64 run, nested up to three deep. Not found: what was encrypted,
permuted, cut into pieces, or compressed without a header.
"""

import base64
import binascii
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow

_DEPTH = 3
_MAX_PLAIN_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 4096
_STREAMS = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]|\x28\xb5\x2f\xfd", re.DOTALL)
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/_-]{24,}")
_ZSTD = b"\x28\xb5\x2f\xfd"


@dataclass(frozen=True)
class Finding:
    """A secret in the open."""

    secret: str
    encoding: str
    """Outermost container first, such as "gzip > base64"."""
    offset: int
    """Where it, or its outermost container, begins."""


def encodings(secret: str) -> Mapping[str, bytes]:
    """What stands in the bytes, by encoding."""
    plain = secret.encode()
    found = {
        "raw": plain,
        "UTF-16 LE": secret.encode("utf-16-le"),
        "UTF-16 BE": secret.encode("utf-16-be"),
        "hex": plain.hex().encode(),
        "HEX": plain.hex().upper().encode(),
    }
    for size, letter in ((16, "h"), (32, "i"), (64, "q")):
        found[f"int{size} LE"] = struct.pack(f"<{len(plain)}{letter}", *plain)
        found[f"int{size} BE"] = struct.pack(f">{len(plain)}{letter}", *plain)
    for shift in range(3):
        core = _base64_core(plain, shift)
        found[f"base64 +{shift}"] = core
        found[f"base64url +{shift}"] = core.translate(bytes.maketrans(b"+/", b"-_"))
    return found


def search(data: bytes, secrets: Sequence[str]) -> list[Finding]:
    """Every secret in `data`, once for each encoding and place of its outermost container."""
    needles = [(secret, name, needle) for secret in secrets for name, needle in encodings(secret).items()]
    return list(dict.fromkeys(_search(data, needles, _DEPTH)))


def _search(data: bytes, needles: Sequence[tuple[str, str, bytes]], depth: int) -> Iterator[Finding]:
    for secret, name, needle in needles:
        at = data.find(needle)
        if at >= 0:
            yield Finding(secret, name, at)
    if depth == 0:
        return
    for name, at, plain in _containers(data):
        for inner in _search(plain, needles, depth - 1):
            yield Finding(inner.secret, f"{name} > {inner.encoding}", at)


def _containers(data: bytes) -> Iterator[tuple[str, int, bytes]]:
    """What can be unpacked: its name, where it begins, its content as far as it is whole."""
    for match in _STREAMS.finditer(data):
        magic, at = match[0], match.start()
        name = "zstd" if magic == _ZSTD else "gzip" if magic.startswith(b"\x1f") else "zlib"
        plain = _unzstd(data[at:]) if name == "zstd" else _inflate(data, at)
        if plain:
            yield name, at, plain
    for match in _BASE64_RUN.finditer(data):
        run = match[0].translate(bytes.maketrans(b"-_", b"+/"))
        for shift in range(4):
            part = run[shift:]
            try:
                yield "base64", match.start(), base64.b64decode(part[: len(part) // 4 * 4])
            except binascii.Error:
                continue


def _inflate(data: bytes, at: int) -> bytes:
    """A zlib or gzip stream's content, whether or not its end is there."""
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)
    plain = bytearray()
    left = memoryview(data)[at:]
    while len(left) and not stream.eof and len(plain) < _MAX_PLAIN_BYTES:
        before = stream.copy()
        try:
            plain += stream.decompress(left[:_PIECE_BYTES])
        except zlib.error:
            return bytes(plain + _until_fault(before, left[:_PIECE_BYTES]))
        left = left[_PIECE_BYTES:]
    return bytes(plain)


def _until_fault(stream: "zlib._Decompress", piece: memoryview) -> bytes:
    """What a piece with a fault in it holds before the fault: zlib keeps it back when it is given all at once."""
    plain = bytearray()
    try:
        for at in range(len(piece)):
            plain += stream.decompress(piece[at : at + 1])
    except zlib.error:
        pass
    return bytes(plain)


def _unzstd(data: bytes) -> bytes:
    plain = bytearray()
    try:
        with pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd") as stream:
            while len(plain) < _MAX_PLAIN_BYTES and (part := stream.read(65_536)):
                plain += part
    except OSError:
        pass  # what came before the fault counts
    return bytes(plain)


def _base64_core(plain: bytes, shift: int) -> bytes:
    """The letters that do not depend on what stands around `plain`, when it begins `shift` bytes into a group."""
    padded = base64.b64encode(bytes(shift) + plain + bytes(2))
    first = -(-shift * 8 // 6)
    return padded[first : (shift + len(plain)) * 8 // 6]
