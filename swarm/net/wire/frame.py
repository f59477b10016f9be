"""What every frame has in common, and the most that one may hold."""

import msgspec

from swarm.identity.peer_id import PeerId

KIB = 1024
MAX_HELLO_BYTES = 8 * KIB
MAX_REQUEST_BYTES = 64 * KIB
MAX_CHARTER_BYTES = 1024 * KIB
MAX_CONTROL_BYTES = 64 * KIB * KIB
"""Rosters, proposals and records list every chunk: 64 MiB holds a million of them."""
MAX_CHUNK_OVERHEAD_BYTES = 4 * KIB
MAX_ANNOUNCEMENT_BYTES = 4 * KIB
MAX_RELAYED_BYTES = 516 * KIB
"""Of one `RelayData`; longer frames are sent in several."""
MAX_RELAYS = 4
MAX_ROUND = 2**40
MAX_PEERS = 4096


class Frame(msgspec.Struct, frozen=True, tag=True, tag_field="t", array_like=False, forbid_unknown_fields=True):
    """Base of everything on the wire."""


class Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A statement with its author's signature over exactly `payload`."""

    author: PeerId
    payload: bytes
    signature: bytes
