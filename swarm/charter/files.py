"""Charters as TOML text for people: encode, decode, read, write. Judges form; `signing.py` judges content.

The signatures are a `[[signatures]]` table in the same file. They cover the decoded payload, not the text, so
a comment may be added to a signed charter.
"""

from pathlib import Path
from typing import Any, cast

import msgspec
import tomli_w

from swarm.charter.documents import read_document, write_document
from swarm.charter.manifest import Charter
from swarm.charter.signing import Signature, SignedCharter
from swarm.errors import CharterError

MAX_CHARTER_BYTES = 1_048_576
MAX_DOTS = 4_096
"""The TOML parser takes time in the square of a dotted key's parts; a stranger's text must not use that."""


def encode_toml(signed: SignedCharter) -> str:
    """The charter's tables, then its signatures."""
    tables = cast(dict[str, Any], msgspec.to_builtins(signed.charter))
    if signed.signatures:
        tables["signatures"] = msgspec.to_builtins(signed.signatures)
    return tomli_w.dumps(tables)


def decode_toml(text: str) -> SignedCharter:
    """The envelope in the text; nothing is verified yet.

    Raises:
        CharterError: too long, not TOML, or a key that is missing, unknown or of the wrong type (and which).
    """
    if len(text) > MAX_CHARTER_BYTES:
        raise CharterError(f"the charter is longer than {MAX_CHARTER_BYTES} bytes")
    if text.count(".") > MAX_DOTS:
        raise CharterError(f"the charter has more than {MAX_DOTS} dots")
    try:
        tables = msgspec.toml.decode(text, type=dict[str, Any])
        signatures = tables.pop("signatures", [])
        charter = msgspec.convert(tables, Charter)
    except msgspec.ValidationError as error:
        raise CharterError(f"charter: {_readable(error)}") from None
    except msgspec.DecodeError as error:
        raise CharterError(f"the charter is not TOML: {error}") from None
    except RecursionError:
        raise CharterError("the charter is nested too deeply") from None
    except ValueError:  # the parser hands on int()'s refusal of thousands of digits
        raise CharterError("the charter holds a number that is too long") from None
    try:
        return SignedCharter(charter=charter, signatures=msgspec.convert(signatures, tuple[Signature, ...]))
    except msgspec.ValidationError as error:
        raise CharterError(f"charter, [[signatures]]: {_readable(error)}") from None


def decode_bytes(data: bytes) -> SignedCharter:
    """As `decode_toml`, for bytes that a stranger sent.

    Raises:
        CharterError: too long, not UTF-8, or as in `decode_toml`.
    """
    if len(data) > MAX_CHARTER_BYTES:
        raise CharterError(f"the charter is longer than {MAX_CHARTER_BYTES} bytes")
    try:
        return decode_toml(data.decode())
    except UnicodeDecodeError:
        raise CharterError("the charter is not UTF-8 text") from None


def read(path: Path) -> SignedCharter:
    """The envelope in a file.

    Raises:
        UsageError: nothing lies at `path`.
        CharterError: not readable, or as in `decode_bytes`.
    """
    return decode_bytes(read_document(path, MAX_CHARTER_BYTES, CharterError))


def write(path: Path, signed: SignedCharter) -> None:
    """Replaces the file in one step.

    Raises:
        UsageError: the folder does not exist.
        CharterError: the file cannot be written; an older one stays as it was.
    """
    write_document(path, encode_toml(signed).encode(), CharterError)


def _readable(error: msgspec.ValidationError) -> str:
    """msgspec says "... - at `$.run.created`"; a person wants "run.created: ..."."""
    cause, separator, place = str(error).rpartition(" - at `$")
    if not separator:
        return str(error)
    return f"{place.rstrip('`').lstrip('.')}: {cause}"
