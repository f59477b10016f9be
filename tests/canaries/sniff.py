"""Copies every packet of this network namespace to a file: `python -m tests.canaries.sniff FILE`. Needs CAP_NET_RAW."""

import socket
import sys
from pathlib import Path

_ALL_PROTOCOLS = 0x0003
_MAX_PACKET_BYTES = 131_072
_BUFFER_BYTES = 64 * 1024 * 1024


def main() -> None:
    with (
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS)) as wire,
        Path(sys.argv[1]).open("wb", buffering=0) as file,
    ):
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        print("listening", flush=True)
        while True:
            file.write(wire.recv(_MAX_PACKET_BYTES))


if __name__ == "__main__":
    main()
