"""What a frame in the ledger costs on an Ethernet, estimated from its length: for comparing it with an interface.

The ledger counts payload. On the way it gets a length and a tag (a lane's), and is cut into TCP segments, each with the
headers of Ethernet, IPv4 and TCP with timestamps. Not in it: acknowledgements of what arrives (up to 2.3 % of that),
handshakes, what is sent twice, libp2p's own framing where a stream takes no lane, and its idle traffic.
"""

_FRAMING_BYTES = 4 + 16
_SEGMENT_BYTES = 1448
"""Content of a full packet of 1,500 bytes."""
_HEADER_BYTES = 14 + 20 + 32


def on_wire_bytes(payload_bytes: int) -> int:
    """Bytes that an interface counts for one frame of this length."""
    framed = payload_bytes + _FRAMING_BYTES
    return framed + -(-framed // _SEGMENT_BYTES) * _HEADER_BYTES
