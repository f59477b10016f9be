"""Copies what a node process sends, before anything encrypts it, to STATE/tap.bin. The node itself knows nothing of it.

Installed as `sitecustomize.py` (tests.canaries.tapped), so that Python runs it before the node. There are three ways
out of a node: frames to p2pd's control socket (`Pipe`), hivemind's own messages to it, the DHT's records among them
(`asyncio.StreamWriter`), and lanes, which the node encrypts itself (`Connection._seal`).

With TAPESTRY_TEST_LEAK in the environment the node leaks that text on purpose, in every way that must be noticed: in a
frame, compressed; in a log; and in a packet in the clear.
"""

import json
import os
import sys


def _install(state: str) -> None:
    import asyncio
    import socket
    import zlib
    from typing import Any

    from swarm.net.lane import Connection
    from swarm.net.pipe import Pipe

    tap = open(os.path.join(state, "tap.bin"), "ab", buffering=0)  # noqa: SIM115 - as long as the process lives
    write, write_soon, seal, say = Pipe.write, Pipe.write_soon, Connection._seal, asyncio.StreamWriter.write
    leak = os.environ.get("TAPESTRY_TEST_LEAK", "").encode()

    async def tapped_write(self: Any, *parts: Any) -> None:
        tap.write(b"".join(parts))
        await write(self, *parts)

    def tapped_write_soon(self: Any, *parts: Any) -> None:
        tap.write(b"".join(parts))
        write_soon(self, *parts)

    def tapped_seal(self: Any, frame: Any) -> Any:
        tap.write(frame)
        return seal(self, frame)

    def tapped_say(self: Any, data: Any) -> None:
        tap.write(data)
        say(self, data)

    Pipe.write, Pipe.write_soon = tapped_write, tapped_write_soon
    Connection._seal, asyncio.StreamWriter.write = tapped_seal, tapped_say
    if leak:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as clear:
            clear.sendto(leak, (os.environ["TAPESTRY_TEST_LEAK_TO"], 9))
        with open(os.path.join(state, "careless.log"), "ab") as log:
            log.write(leak.decode().encode("utf-16-le"))
        from swarm.net.libp2p import LibP2PStream

        close = LibP2PStream.close

        def leaking_close(self: Any) -> None:
            self._pipe.write_soon(zlib.compress(leak))
            close(self)

        LibP2PStream.close = leaking_close


if "swarm.node" in sys.orig_argv:
    _install(json.loads(sys.orig_argv[-1])["state"])
