"""Turns what a person typed into typed values; a wrong one is a UsageError that quotes it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from swarm.charter.rules import MAX_CONFIG_BYTES
from swarm.errors import ModelError, UsageError
from swarm.identity.peer_id import PeerId, parse_peer_id

if TYPE_CHECKING:
    from swarm.sovereignty.entry import Tier

DAY_S = 86_400
TierOption = Annotated[str, typer.Option(help="Who the data sets are shown to: public or consortium.")]
"""Of commands that sign a statement; `shown_to` reads it."""
IDENTITY_NAME = "identity.key"
"""In the state folder of a peer that was started without a key file."""


def peer_id(text: str, option: str) -> PeerId:
    """A peer id.

    Raises:
        UsageError: it is none.
    """
    try:
        return parse_peer_id(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def named(text: str, option: str) -> tuple[str, str]:
    """`NAME=VALUE` as its two halves.

    Raises:
        UsageError: no `=`, or an empty half.
    """
    name, _, value = text.partition("=")
    if not name.strip() or not value.strip():
        raise UsageError(f"{option}: {text!r} is not of the form NAME=VALUE")
    return name.strip(), value.strip()


def elector(text: str, option: str) -> tuple[str, PeerId]:
    """`MEMBER=PEER`, or `PEER` alone, as the member ("" if none is named) and the peer id.

    Raises:
        UsageError: an empty half, or no peer id.
    """
    member, peer = named(text, option) if "=" in text else ("", text)
    return member, peer_id(peer, option)


def new_file(path: Path) -> Path:
    """A path where nothing lies yet, in a folder that exists.

    Raises:
        UsageError: the folder is missing, or the file is there already (it is never overwritten).
    """
    if not path.parent.is_dir():
        raise UsageError(f"folder {path.parent} does not exist")
    if path.exists():
        raise UsageError(f"{path} exists already and is not overwritten")
    return path


def existing_file(path: Path, option: str) -> Path:
    """A path where something lies.

    Raises:
        UsageError: nothing does.
    """
    if not path.exists():
        raise UsageError(f"{option}: {path} does not exist")
    return path


def key_of(state: Path | None, identity: Path | None) -> Path:
    """The key file that signs for a peer: the one that was named, else its state folder's own.

    Raises:
        UsageError: there is neither.
    """
    if identity is not None:
        return identity
    if state is None:
        raise UsageError("give --identity, the key file that signs, or --state with a peer's state folder")
    own = state / IDENTITY_NAME
    if not own.exists():
        raise UsageError(
            f"{state} holds no {IDENTITY_NAME}: give --identity, the key file that its peer was started with"
        )
    return own


def one_of(text: str, words: Sequence[str], option: str) -> str:
    """One of a few words.

    Raises:
        UsageError: another one.
    """
    if text not in words:
        raise UsageError(f"{option}: {text!r} is none of {', '.join(words)}")
    return text


def shown_to(text: str) -> "Tier":
    """Who a statement shows its data sets to.

    Raises:
        UsageError: neither the public nor the consortium.
    """
    from swarm.sovereignty.entry import Tier

    return Tier(one_of(text, [Tier.PUBLIC.value, Tier.CONSORTIUM.value], "--tier"))


def compact_json(path: Path, option: str) -> str:
    """The JSON in a file without its white space.

    Raises:
        UsageError: nothing lies at `path`.
        ModelError: it cannot be read, is too long, or is not JSON.
    """
    existing_file(path, option)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
        if len(data) > MAX_CONFIG_BYTES:
            raise ModelError(f"{path} is longer than {MAX_CONFIG_BYTES} bytes")
        return msgspec.json.format(data, indent=-1).decode()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON: {error}") from None
